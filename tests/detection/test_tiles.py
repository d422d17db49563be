"""Small people in large frames: when tiles are used, where they lie, and that they find people."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from fourd_humans.detection.movenet import MoveNetDetector
from fourd_humans.detection.tiles import grid, has_small_people, is_whole
from fourd_humans.geometry.boxes import intersection_over_union
from fourd_humans.people import Frame
from fourd_humans.video import open_source

DEMO = Path(__file__).parents[2] / "demo_videos"


@pytest.mark.parametrize(
    ("heights", "likelihoods", "expected"),
    [
        ([200, 180], [0.9, 0.8], False),  # an ordinary video
        ([200, 30, 30], [0.9, 0.4, 0.4], False),  # two in the background
        ([200, 30, 30, 30], [0.9, 0.4, 0.4, 0.4], True),  # a crowd
        ([200, 30, 30, 30], [0.9, 0.1, 0.1, 0.1], False),  # noise
        ([30], [0.3], True),  # nobody for certain
        ([], [], True),
    ],
)
def test_tiles_are_for_crowds_and_for_frames_in_which_nobody_is_certain(heights, likelihoods, expected):
    assert has_small_people(np.float32(heights), np.float32(likelihoods)) is expected


@pytest.mark.parametrize("count", [2, 4])
def test_tiles_cover_the_frame_and_overlap_by_a_fifth(count):
    covered = np.zeros((301, 503), int)
    tiles = grid((301, 503), count)
    for x1, y1, x2, y2 in tiles:
        covered[y1:y2, x1:x2] += 1
        assert (x2 - x1) / (y2 - y1) == pytest.approx(503 / 301, rel=0.02)
    assert len(tiles) == count**2
    assert covered.min() == 1
    (x1, _, x2, _), (next_x1, *_) = tiles[:2]
    assert (x2 - next_x1) / (x2 - x1) == pytest.approx(0.2, abs=0.02)


def test_people_whom_an_inner_edge_cuts_are_left_to_the_next_tile():
    boxes = np.float32([[0, 0, 40, 80], [50, 20, 99.5, 80], [50, 40, 80, 99.5], [50, 20, 80, 80]])
    assert is_whole(boxes, (0, 0, 100, 100), (300, 300)).tolist() == [True, False, False, True]
    assert is_whole(boxes, (0, 0, 100, 100), (100, 100)).all()  # the frame's own edges


def test_small_people_are_found_at_their_places():
    """A person from a demo video, 120 pixels high, six times in a frame of 1440x2560."""
    (frame,) = islice(open_source(DEMO / "two_people.mp4", start=30), 1)
    (found,) = MoveNetDetector(threads=1)([frame])
    x1, y1, x2, y2 = found.boxes[0].astype(int)
    person = cv2.resize(frame.image[y1 - 60 : y2 + 60, x1 - 60 : x2 + 60], None, fx=0.17, fy=0.17, interpolation=3)
    picture, boxes = np.full((1440, 2560, 3), 120, np.uint8), []
    for x, y in ((100, 100), (1200, 150), (2300, 640), (700, 700), (1300, 1150), (40, 1250)):
        picture[y : y + person.shape[0], x : x + person.shape[1]] = person
        boxes.append([x + 10, y + 10, x + person.shape[1] - 10, y + person.shape[0] - 10])
    large = [Frame(0, 0.0, "0", picture)]
    without, found = (MoveNetDetector(threads=1, tiles=tiles)(large)[0] for tiles in ("none", "auto"))
    overlap = intersection_over_union(np.float32(boxes), found.boxes)
    assert len(without) <= 1
    assert (overlap.max(1) > 0.5).sum() >= 5
    assert (overlap > 0.3).sum() == (overlap.max(1) > 0.3).sum()  # nobody twice
