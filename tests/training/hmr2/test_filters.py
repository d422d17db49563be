"""The filters against what the released loader kept and used."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fourd_humans.body.loading import OPEN_BODY
from fourd_humans.training.hmr2.annotations import PersonAnnotation
from fourd_humans.training.hmr2.filters import Filters, filter_person
from fourd_humans.training.pose_histogram import PoseHistogram

BINS = 20


@pytest.fixture(scope="module")
def stored(figures):
    return figures("filters.npz"), figures("filters.json")


@pytest.fixture(scope="module")
def histogram(stored):
    """The rule that the figures were made with."""
    centres = (np.arange(BINS) + 0.5) / BINS * 2 * np.pi - np.pi
    squares = (np.stack(np.meshgrid(centres, centres, centres, indexing="ij")) ** 2).sum(0)
    width = stored[0]["histogram_width"]
    density = np.exp(-squares[None] / (2 * width[:, None, None, None] ** 2))
    return PoseHistogram((density / density.sum() / (2 * np.pi / BINS) ** 3).astype(np.float32))


def people(arrays):
    for i in range(len(arrays["kind"])):
        loss = float(arrays["reprojection_loss"][i])
        yield str(arrays["kind"][i]), PersonAnnotation(
            center=np.array([50, 50], np.float32), box_size=np.array([60, 90], np.float32),
            keypoints_2d=arrays["keypoints_2d"][i], body_pose=arrays["body_pose"][i], betas=arrays["betas"][i],
            has_body_pose=bool(arrays["has_body_pose"][i]), has_betas=bool(arrays["has_betas"][i]),
            reprojection_loss=None if np.isnan(loss) else loss,
        )  # fmt: skip


def test_the_released_filters(stored, histogram):
    result = stored[1]["result"]
    filters = Filters(histogram=histogram)
    for kind, person in people(stored[0]):
        kept, expected = filter_person(person, filters), result[kind]
        assert (kept is not None) == expected["kept"], kind
        if kept is not None:
            assert (kept.has_body_pose, kept.has_betas) == (expected["has_body_pose"], expected["has_betas"]), kind
            assert (kept.betas == 0).all() == expected["betas_are_zero"], kind
            assert (kept.keypoints_2d[:, 2] > 0).sum() == expected["keypoints_used"], kind


def test_reasons_are_counted(stored, histogram):
    counts = Counter()
    for _, person in people(stored[0]):
        filter_person(person, Filters(histogram=histogram), counts)
    assert counts == {
        "left out: too few keypoints": 2,
        "left out: the fit is too far from the keypoints": 1,
        "shape refused: a beta is too large": 1,
        "pose refused: improbable": 1,
    }


def a_person(**changes):
    keypoints = np.ones((44, 3), np.float32)
    pose = np.full(72, 0.1, np.float32)
    known = {"keypoints_2d": keypoints, "body_pose": pose, "has_body_pose": True, "has_betas": True}
    return PersonAnnotation(np.zeros(2, np.float32), np.array([60, 90], np.float32), **(known | changes))


def test_each_setting():
    person = a_person()
    large = replace(person, betas=np.array([3.5] + [0] * 9, np.float32))
    assert filter_person(large, Filters(discard_bad_fits=True)) is None
    assert filter_person(large, Filters(largest_beta=4)).has_body_pose
    assert filter_person(large, Filters(pose_needs_shape=False)).has_body_pose
    assert not filter_person(large, Filters(regularise_betas=False)).has_betas
    assert filter_person(replace(person, has_body_pose=False), Filters(needs_pose=True)) is None
    assert filter_person(person, Filters(smallest_box=60)) is None
    assert filter_person(person, Filters(smallest_box=59)) is not None
    assert filter_person(person, Filters(more_keypoints_than=44)) is None


def test_betas_of_another_body_are_not_used_but_the_pose_is():
    kept = filter_person(a_person(betas=np.ones(10, np.float32)), Filters(shape_space=OPEN_BODY))
    assert kept.has_body_pose
    assert kept.has_betas
    assert (kept.betas == 0).all()


def test_the_person_itself_stays_as_it_is():
    keypoints = np.full((44, 3), 0.2, np.float32)
    keypoints[:10, 2] = 0.3
    person = a_person(keypoints_2d=keypoints)
    kept = filter_person(person, Filters())
    assert (kept.keypoints_2d[:, 2] > 0).sum() == 10
    assert person.keypoints_2d[20, 2] == np.float32(0.2)
