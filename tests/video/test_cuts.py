"""Cuts are seen where they are, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest

from fourd_humans.video import open_source
from fourd_humans.video.cuts import CutDetector

DEMO = Path(__file__).parents[2] / "demo_videos"


@pytest.fixture(scope="module")
def scenes():
    """Frames of the two demo videos: `walk` is landscape, so the middle of it is cut out."""
    walk = [frame.image[:, 400:1000] for frame in open_source(DEMO / "walk.mp4", end=25)]
    people = [frame.image for frame in open_source(DEMO / "two_people.mp4", end=25)]
    return walk, people


def shots(images):
    detector = CutDetector(27.0)
    return [index for index, image in enumerate(images) if detector.update(image)]


def test_hard_cuts(scenes):
    walk, people = scenes
    assert shots([*walk[:3], *people[:20], *walk[10:]]) == [3, 23]


def test_the_first_frame_is_no_cut(scenes):
    assert shots(scenes[0][:1]) == []


def test_no_cut_within_the_demo_videos(scenes):
    assert shots(scenes[0]) == []
    assert shots(scenes[1]) == []


def test_no_cut_where_the_camera_turns_fast(scenes):
    """A twentieth of the picture's width from frame to frame."""
    picture = np.concatenate([scenes[0][0], scenes[0][0][:, ::-1]], axis=1)
    assert shots([np.roll(picture, 30 * i, axis=1)[:, :600] for i in range(12)]) == []


def test_pictures_of_any_size_and_of_several():
    dark, bright = np.zeros((1, 1, 3), np.uint8), np.full((3000, 1, 3), 255, np.uint8)
    assert shots([dark, dark, bright, bright]) == [2]
