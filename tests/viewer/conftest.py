"""Results that pages are made of, and a browser to open them in."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fourd_humans.body.model import BodyModel
from fourd_humans.results import load_tracklets

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "exports"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
]


@pytest.fixture(scope="session")
def body_model():
    return BodyModel.open_body()


@pytest.fixture(scope="session")
def walk():
    """Two people in every third frame of the demo video; the first is hidden at times, the second comes and goes."""
    return load_tracklets(DATA / "walk.pkl")


@pytest.fixture(scope="session")
def short(walk):
    """The part in which the first person is hidden for the first time, with a cut in it."""
    frames = [replace(frame, is_cut=i == 5) for i, frame in enumerate(walk.frames[33:45])]
    return replace(walk, frames=frames, shots=[])


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    executable = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield chromium
        chromium.close()
