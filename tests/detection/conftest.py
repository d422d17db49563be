import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from fourd_humans.detection.vitdet.model import ViTDet

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def vitdet_reference():
    """What detectron2 computes with the small model."""
    with np.load(DATA / "vitdet" / "vitdet_small.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="session")
def vitdet_manifests():
    """Names and shapes of the small and the released checkpoint."""
    names = {"small": "vitdet_small_manifest.json", "released": "vitdet_h_manifest.json"}
    return {name: json.loads((DATA / "vitdet" / file).read_text()) for name, file in names.items()}


@pytest.fixture(scope="session")
def vitdet_sizes():
    """The small model's, as arguments."""
    settings = json.loads((DATA / "vitdet" / "vitdet_small.json").read_text())
    return {
        "width": settings["embed_dim"],
        "depth": settings["depth"],
        "heads": settings["num_heads"],
        "window_blocks": tuple(settings["window_block_indexes"]),
        "window_size": settings["window_size"],
        "image_size": settings["img_size"],
        "pretraining_size": settings["pretrain_img_size"],
        "channels": settings["fpn_channels"],
        "box_convolutions": tuple(settings["box_conv_dims"]),
        "box_hidden": settings["box_fc_dims"][0],
        "mask_convolutions": tuple(settings["mask_conv_dims"][:-1]),  # there the last is the doubling's
        "classes": settings["num_classes"],
    }


@pytest.fixture(scope="session")
def small_vitdet(vitdet_sizes):
    """The small model with the weights the reference was computed with."""
    model = ViTDet(**vitdet_sizes)
    fill_weights = runpy.run_path(str(DATA / "fill_weights.py"))["fill_weights"]
    model.load_state_dict(fill_weights(model.state_dict(), scale=0.12))
    return model.eval()
