import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from small_hmr2 import SMALL

DATA = Path(__file__).parents[2] / "data"
FIGURES = DATA / "hmr2_training"


@pytest.fixture(scope="session")
def figures():
    """By name, what the released code computed: arrays, and json's contents."""

    def read(name):
        path = FIGURES / name
        if path.suffix == ".json":
            return json.loads(path.read_text())
        with np.load(path) as stored:
            return dict(stored)

    return read


@pytest.fixture(scope="session")
def fill_weights():
    return runpy.run_path(str(DATA / "fill_weights.py"))["fill_weights"]


@pytest.fixture(scope="session")
def small():
    return dict(SMALL)
