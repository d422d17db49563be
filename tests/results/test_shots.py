"""Shots in result files."""

import math

import numpy as np
import pytest

from fourd_humans.errors import FourDHumansError
from fourd_humans.people import Gravity, Shot
from fourd_humans.results import ResultWriter, load_tracklets
from fourd_humans.results.shots import from_plain, to_plain

TURN = ((1.0, 0.0, 0.0), (0.0, 0.8, -0.6), (0.0, 0.6, 0.8))
SHOTS = [
    Shot(0, 10, Gravity((0.0, -0.8, -0.6), -1.5, 0.75, 1100.0), "static"),
    Shot(11, 90, None, "rotating", ((23, TURN), (35, TURN))),
    Shot(91, 99),
]


def test_shots_come_back(tmp_path, make_frame):
    with ResultWriter(tmp_path / "a.pkl") as writer:
        for index in range(3):
            writer.write(make_frame(index))
        writer.close(shots=SHOTS)
    assert load_tracklets(tmp_path / "a.pkl").shots == SHOTS
    load_tracklets(tmp_path / "a.pkl").save(tmp_path / "b.pkl")
    assert load_tracklets(tmp_path / "b.pkl").shots == SHOTS


def test_the_homography_of_keyframes_comes_back(tmp_path, make_frame):
    matrix, unknown = np.arange(9.0).reshape(3, 3), np.full((3, 3), np.nan)
    frames = [make_frame(0), make_frame(1, camera_homography=matrix), make_frame(2, camera_homography=unknown)]
    with ResultWriter(tmp_path / "a.pkl") as writer:
        for frame in frames:
            writer.write(frame)
    first, second, third = load_tracklets(tmp_path / "a.pkl")
    assert first.camera_homography is None
    np.testing.assert_array_equal(second.camera_homography, matrix)
    assert np.isnan(third.camera_homography).all()


@pytest.mark.parametrize(
    "change",
    [
        {"camera_motion": "flying"},
        {"gravity": {"up": [0, 0, 0], "floor": 0, "confidence": 1, "focal_length": 1}},
        {"gravity": {"up": [0, math.nan, 1], "floor": 0, "confidence": 1, "focal_length": 1}},
        {"gravity": {"up": [0, 1], "floor": 0, "confidence": 1, "focal_length": 1}},
        {"rotations": [[1, 2, 3]]},
        {"rotations": [[1] * 9 + [math.inf]]},
        {"first_frame": "a"},
    ],
    ids=str,
)
def test_what_is_no_shot_is_refused(change):
    with pytest.raises((ValueError, KeyError, FourDHumansError)):
        from_plain([to_plain(SHOTS)[0] | change])
    with pytest.raises(ValueError, match="no list"):
        from_plain({"a": 1})
