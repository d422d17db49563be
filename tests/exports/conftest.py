"""The demo videos as tracked by this program, some frames of each, and the body that they are of."""

from pathlib import Path

import pytest

from fourd_humans.body.model import BodyModel
from fourd_humans.exports.world import make_scene
from fourd_humans.results import load_tracklets

DATA = Path(__file__).parents[1] / "data" / "exports"


@pytest.fixture(scope="session")
def body_model():
    return BodyModel.open_body()


@pytest.fixture(scope="session", params=["walk", "two_people"])
def tracklets(request):
    return load_tracklets(DATA / f"{request.param}.pkl")


@pytest.fixture(scope="session")
def walk():
    """Two people, of whom the second comes later and leaves earlier than the first."""
    return load_tracklets(DATA / "walk.pkl")


@pytest.fixture(scope="session")
def scene(tracklets, body_model):
    return make_scene(tracklets, body_model)
