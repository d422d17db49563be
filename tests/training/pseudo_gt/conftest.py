"""People to fit, made once."""

import pytest
from made_up_people import Scene, make_scene

from fourd_humans.body.model import BodyModel


@pytest.fixture(scope="session")
def body() -> BodyModel:
    return BodyModel.open_body()


@pytest.fixture(scope="session")
def scene(body) -> Scene:
    return make_scene(body)
