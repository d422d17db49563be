from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import numpy as np
import pytest

from fourd_humans.people import Bodies, Detections, Mask, Rejected, concatenate


def detections(count, *, keypoints=False, rejected=()):
    boxes = np.arange(4 * count, dtype=np.float32).reshape(count, 4)
    points = np.ones((count, 17, 3), np.float32) if keypoints else None
    return Detections(boxes, np.linspace(0, 1, count, dtype=np.float32), keypoints=points, rejected=list(rejected))


@pytest.mark.parametrize(
    ("index", "rows"), [(1, [1]), ([2, 0], [2, 0]), (slice(1, 3), [1, 2]), (np.array([True, False, True]), [0, 2])]
)
def test_selecting_people_selects_every_field(index, rows):
    people = replace(detections(3, keypoints=True), annotations=["a", "b", "c"])
    chosen = people[index]
    assert chosen.boxes.tolist() == people.boxes[rows].tolist()
    assert chosen.keypoints.shape == (len(rows), 17, 3)
    assert chosen.annotations == [people.annotations[row] for row in rows]


def test_dropped_people_stay_with_their_frame():
    people = detections(2, rejected=[Rejected((0, 0, 1, 1), 0.1, "too small")])
    assert people[[]].rejected == people.rejected


def test_joining_fills_up_what_only_some_have():
    mask = Mask(np.ones((2, 2), dtype=bool), 1, 1, (5, 5))
    joined = concatenate([replace(detections(1, keypoints=True), masks=[mask]), detections(2)])
    assert len(joined) == 3
    assert joined.masks == [mask, None, None]
    assert joined.keypoints[1:].any() == np.False_


def test_joining_bodies_keeps_the_frames_fields():
    none = Bodies.empty("open", 100.0, (3.0, 4.0))
    assert len(concatenate([none, none])) == 0
    assert concatenate([none, none]).focal_length == 100.0


def test_masks_are_cut_out_and_put_back():
    full = np.zeros((6, 9), dtype=bool)
    full[2:4, 3:8] = [[1, 0, 1, 1, 0], [0, 0, 0, 1, 1]]
    mask = Mask.from_full(full)
    assert mask.pixels.shape == (2, 5)
    assert (mask.full() == full).all()
    assert not Mask.from_full(np.zeros((3, 3), dtype=bool)).full().any()


def test_a_mask_may_be_decoded_by_several_threads_at_once():
    both = Barrier(2)

    def decode():
        both.wait(10)
        return Mask(np.ones((2, 3), dtype=bool), 1, 2, (9, 9))

    mask = Mask.deferred((9, 9), decode)
    with ThreadPoolExecutor(2) as pool:
        places = list(pool.map(lambda name: getattr(mask, name), ["left", "top"]))
    assert places == [1, 2]
    assert mask.pixels.shape == (2, 3)
