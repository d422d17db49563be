"""The small networks, scenes and tracklets whose figures the released code (LART) computed (`tests/data/actions`)."""

import json
import runpy
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch

from fourd_humans.actions.action_transformer import ActionTransformer
from fourd_humans.actions.classes import ava_classes
from fourd_humans.actions.tracklet_files import read_tracklet
from fourd_humans.actions.tracks import ActionTrack

DATA = Path(__file__).parents[1] / "data"
SMALL = {"depth": 2, "heads": 4, "head_width": 8, "mlp_width": 48, "kinetics": 7}
POSE_ONLY = {"width": 32, **SMALL}
FULL = {"width": 12, "joints": (16, 16, 8), "appearance": (24, 16, 16, 12), **SMALL}


@pytest.fixture(scope="session")
def reference():
    with np.load(DATA / "actions" / "actions_small.npz") as stored:
        return dict(stored.items())


@pytest.fixture(scope="session")
def settings():
    return json.loads((DATA / "actions" / "actions_small.json").read_text())


@pytest.fixture(scope="session")
def fill():
    """(network) -> the weights of seed 0, the two names of the positions being one tensor."""
    fill_weights = runpy.run_path(str(DATA / "fill_weights.py"))["fill_weights"]

    def filled(network):
        weights = fill_weights(network.state_dict(), 0, 0.1)
        return weights | {"pe": weights["pos_embedding"]}

    return filled


def make(arguments, fill, reference=None):
    network = ActionTransformer(**arguments)
    network.load_state_dict(fill(network))
    if reference is not None:
        network.mean, network.std = (torch.from_numpy(reference[name]) for name in ("mean", "std"))
    return network.eval()


@pytest.fixture(scope="session")
def pose_only(fill, reference):
    return make(POSE_ONLY, fill, reference)


@pytest.fixture(scope="session")
def full(fill, reference):
    return make(FULL, fill, reference)


@pytest.fixture(scope="session")
def unnormalised(fill):
    """The two networks for inputs that are normalised already."""
    return make(POSE_ONLY, fill), make(FULL, fill)


@pytest.fixture(scope="session")
def gap_track(reference):
    """The 150-frame track with gaps."""
    joints = (reference["gap_joints"] + reference["gap_camera"][:, None]).reshape(150, 135)
    return ActionTrack(
        1, 0, reference["gap_pose"], joints, reference["gap_has"] > 0, reference["gap_appearance"]
    )  # fmt: skip


@pytest.fixture(scope="session")
def tracklet_folder(tmp_path_factory, reference, settings):
    """The six tracklets as files in LART's form."""
    folder = tmp_path_factory.mktemp("tracklets")
    for place, name in enumerate(settings["scene"]["order"]):

        def of(key, name=name):
            return reference[f"track_{name}_{key}"]

        count = len(of("fid"))
        content = {
            key: of(key)
            for key in ("fid", "pose_shape", "3d_joints", "camera", "has_gt", "has_detection", "action_label_gt")
        }
        content |= {
            "apperance_index": of("apperance_index"),
            "apperance_dict": {1000 * i: value[None] for i, value in enumerate(of("features"))},
            "action_label_psudo": {1000 * i: value[None] for i, value in enumerate(of("pseudo"))},
            "frame_name": [f"frames/abcdefghijk/abcdefghijk_{2684 + j:06d}.jpg" for j in range(count)],
            "frame_size": [[480, 640]] * count,
            "frame_bbox": [np.array([100 + 2 * j, 50 + j, 120, 300]) for j in range(count)],
            "frame_conf": [0.95 - 0.001 * j for j in range(count)],
        }
        joblib.dump(content, folder / f"ava-val_abcdefghijk_002700_{place}_{count}.pkl", compress=3)
    return folder


@pytest.fixture(scope="session")
def tracklets(tracklet_folder):
    """The six in the order of the reference: the person in question first."""
    return [read_tracklet(path, ava_classes()) for path in sorted(tracklet_folder.iterdir())]
