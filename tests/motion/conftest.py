"""The small network whose figures the released code computed (`tests/data/motion`)."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fourd_humans.motion.pose_transformer import PoseTransformer

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def reference():
    """Its arrays, as tensors without the person dimension, which is 1."""
    with np.load(DATA / "motion" / "pose_transformer_small.npz") as stored:
        return SimpleNamespace(**{name: torch.from_numpy(stored[name]) for name in stored.files})


@pytest.fixture
def small_network(reference):
    settings = json.loads((DATA / "motion" / "pose_transformer_small.json").read_text())
    blocks = settings["transformer"]
    network = PoseTransformer(
        frames=settings["frame_length"],
        width=settings["in_feat"],
        depth=blocks["depth"],
        heads=blocks["heads"],
        head_width=blocks["dim_head"],
        mlp_width=blocks["mlp_dim"],
        bottleneck=(blocks["conv"]["stride"], blocks["conv"]["pad"]),
        actions=settings["ava"]["num_valid_action_classes"],
    )
    fill_weights = runpy.run_path(str(DATA / "fill_weights.py"))["fill_weights"]
    network.load_state_dict(fill_weights(network.state_dict()))
    network.mean, network.std = reference.mean.flatten(), reference.std.flatten()
    return network.eval()


@pytest.fixture
def lite_network():
    """A plain network with random weights that starts from the frames seen, as the built-in one does."""
    torch.manual_seed(0)
    return PoseTransformer(
        frames=128, width=16, depth=1, heads=2, head_width=8, mlp_width=16, bottleneck=None, readout_width=16,
        readout_steps=1, start="seen", actions=0,
    ).eval()  # fmt: skip
