import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from small_hmr2 import SMALL

from fourd_humans.recovery.hmr2.model import HMR2

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="session")
def fill_weights():
    return runpy.run_path(str(DATA / "fill_weights.py"))["fill_weights"]


@pytest.fixture(scope="session")
def reference():
    """What the released code computes with the small model."""
    with np.load(DATA / "hmr2" / "hmr2_small.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="session")
def reference_crops():
    """What the released code cuts out of a test picture, and where it places bodies."""
    with np.load(DATA / "hmr2" / "crops_and_cameras.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="session")
def manifests():
    """Names and shapes of the small and the released checkpoint."""
    names = {"small": "hmr2_small_manifest.json", "released": "hmr2_checkpoint_manifest.json"}
    return {name: json.loads((DATA / "hmr2" / file).read_text()) for name, file in names.items()}


@pytest.fixture
def small_model(fill_weights):
    model = HMR2(**SMALL)
    model.load_state_dict(fill_weights(model.state_dict()))
    return model.eval()
