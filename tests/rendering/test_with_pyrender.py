"""pyrender as a referee of our rasteriser, and as a backend. Skipped where it finds no OpenGL."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fourd_humans.errors import UsageError
from fourd_humans.geometry.camera import Intrinsics
from fourd_humans.geometry.rasteriser import rasterise
from fourd_humans.rendering.palette import track_colour
from fourd_humans.rendering.renderer import Renderer
from fourd_humans.rendering.with_pyrender import PyrenderPainter
from fourd_humans.results import load_tracklets

RESULTS = Path(__file__).parents[1] / "data" / "exports"
SIZE = (120, 160)


@pytest.fixture(scope="module")
def painter(body_model):
    """A picture is drawn to see whether there is any OpenGL."""
    try:
        painter = PyrenderPainter(np.ascontiguousarray(body_model.faces), 1)
        vertices = body_model.v_template.numpy()[None] + [0.0, 0.0, 3.0]
        painter.draw(np.zeros((32, 32, 3), np.uint8), vertices, np.ones((1, 3)), np.ones(1), Intrinsics(30, (16, 16)))
    except UsageError as error:
        pytest.skip(str(error))
    return painter


@pytest.mark.parametrize(("name", "number"), [("walk", 20), ("walk", 60), ("two_people", 5), ("two_people", 20)])
def test_outlines_and_depths_agree(painter, body_model, name, number):
    """On tracked people in full frames: the same pixels but for 0.1 %, and nearly the same depths."""
    frame = load_tracklets(RESULTS / f"{name}.pkl")[number]
    bodies = frame.bodies
    parameters = (torch.from_numpy(each) for each in (bodies.global_orient, bodies.body_pose, bodies.betas))
    vertices = body_model(*parameters).vertices.numpy() + bodies.camera[:, None].astype(float)
    intrinsics = Intrinsics(bodies.focal_length, bodies.principal_point)
    ours, faces = rasterise(vertices, body_model.faces, intrinsics, frame.size)
    colours = np.array([track_colour(int(id)) for id in frame.ids], float)
    image = np.zeros((*frame.size, 3), np.uint8)
    theirs = painter.draw(image, vertices, colours, np.ones(len(frame)), intrinsics)
    covered, drawn = faces >= 0, np.isfinite(theirs)
    assert covered.sum() > 10_000
    assert (covered != drawn).mean() < 0.001
    assert (covered != drawn).sum() < 0.03 * covered.sum()  # with OSMesa 0.00002; EGL takes four samples a pixel
    both = covered & drawn
    assert np.median(np.abs(ours[both] - theirs[both])) < 0.02


def test_pictures_look_alike(painter, body_model, tracked):
    """People have their colours, seen ones hide each other by depth, and predicted ones are faint."""
    frame = tracked([(-0.4, 0, 4.0), (0.1, 0, 3.0), (0.5, 0, 3.5)], time_since_seen=[0, 0, 2])
    grey = np.full((*SIZE, 3), 100, np.uint8)
    pictures = [Renderer(body_model, backend=backend).draw(grey, frame) for backend in ("numba", "pyrender")]
    changed = [(picture != grey).any(-1) for picture in pictures]
    assert (changed[0] != changed[1]).mean() < 0.01
    hues = [picture[changed[0]].astype(float) + 1 for picture in pictures]
    hues = [colours / np.linalg.norm(colours, axis=1, keepdims=True) for colours in hues]
    assert np.median((hues[0] * hues[1]).sum(1)) > 0.97


def test_without_the_package_it_says_what_to_do(body_model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyrender", None)
    with pytest.raises(UsageError, match=r"pip install 'fourd-humans\[pyrender\]'"):
        Renderer(body_model, backend="pyrender")
