"""What is rejected, and for which reason."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_people import SIZE

from fourd_humans.people import Detections
from fourd_humans.training.pose_histogram import PoseHistogram
from fourd_humans.training.pseudo_gt import filters
from fourd_humans.training.pseudo_gt.filters import FilterSettings, judge_detections, judge_fits
from fourd_humans.training.pseudo_gt.people import PeopleFit

SETTINGS = FilterSettings()


def detection(scene, **changes) -> Detections:
    found = scene.found[0]
    keypoints = found.keypoints.copy()
    keypoints[..., 2] = 0.9
    return replace(found, keypoints=keypoints, **changes)


def test_a_good_detection_is_kept(scene):
    assert judge_detections(detection(scene), SIZE, SETTINGS) == [None]
    assert judge_detections(Detections.empty(), SIZE, SETTINGS) == []


def test_detections(scene):
    good = detection(scene)
    few, aside = good.keypoints.copy(), good.keypoints.copy()
    few[:, 4:, 2] = 0.29
    aside[..., 0] += (good.boxes[0, 2] - good.boxes[0, 0]) * 0.8
    x0, y0, x1, _ = good.boxes[0]
    cases = {
        filters.LOW_SCORE: (detection(scene, scores=np.array([0.49], np.float32)), SIZE),
        filters.FEW_KEYPOINTS: (replace(good, keypoints=few), SIZE),
        filters.SMALL: (replace(good, boxes=np.array([[x0, y0, x1, y0 + 31]], np.float32)), SIZE),
        filters.OUTSIDE: (replace(good, keypoints=aside), SIZE),
    }
    for reason, (found, size) in cases.items():
        assert judge_detections(found, size, SETTINGS) == [reason]
    cut = int(np.median(good.keypoints[0, :, 1]))  # the picture ends there
    assert judge_detections(good, (cut, SIZE[1]), SETTINGS) == [filters.OUTSIDE]
    few[:, 4, 2] = 0.3
    assert judge_detections(replace(good, keypoints=few), SIZE, SETTINGS) == [None]


def test_of_duplicates_the_better_is_kept(scene):
    good = detection(scene)
    keypoints = np.concatenate([good.keypoints, good.keypoints + np.array([3, 3, 0], np.float32)])
    boxes = np.concatenate([good.boxes, good.boxes + 2])
    both = Detections(boxes, np.array([0.8, 0.9], np.float32), keypoints=keypoints)
    assert judge_detections(both, SIZE, SETTINGS) == [filters.DUPLICATE, None]
    keypoints[1, :, :2] = keypoints[1, ::-1, :2]  # somebody else in the same box
    assert judge_detections(replace(both, keypoints=keypoints), SIZE, SETTINGS) == [None, None]


@pytest.fixture
def fit(scene) -> PeopleFit:
    few = np.array([0.01], np.float32)
    return PeopleFit(scene.truth[0], few, few, np.array([30000], np.float32), np.zeros((1, 17, 2), np.float32))


def test_fits(scene, fit):
    start = scene.truth[0]
    large = start.betas.copy()
    large[0, 3] = -3.01
    camera = np.array([[0, 0, -1]], np.float32)
    nan = np.array([np.nan], np.float32)
    cases = [
        (None, fit, start),
        (filters.NOT_FINITE, replace(fit, bodies=replace(fit.bodies, camera=camera)), start),
        (filters.NOT_FINITE, replace(fit, errors=nan), start),
        (filters.DISAGREEMENT, replace(fit, start_errors=np.array([0.081], np.float32)), start),
        (filters.DISAGREEMENT, replace(fit, start_errors=nan), start),
        (filters.LARGE_ERROR, replace(fit, errors=np.array([0.031], np.float32)), start),
        (filters.LARGE_BETAS, replace(fit, bodies=replace(fit.bodies, betas=large)), start),
        (filters.LARGE_BETAS, fit, replace(start, betas=large)),
    ]
    for reason, found, begun in cases:
        assert judge_fits(found, begun, SETTINGS) == [reason]
    released = replace(SETTINGS, max_reprojection_loss=31000)
    assert judge_fits(fit, start, released) == [None]
    assert judge_fits(replace(fit, reprojection_losses=np.array([31000.0])), start, released) == [filters.LARGE_LOSS]


def test_improbable_poses(scene, fit):
    everything = PoseHistogram(np.ones((21, 8, 8, 8), np.float32))
    nothing = PoseHistogram(np.zeros((21, 8, 8, 8), np.float32))
    assert judge_fits(fit, scene.truth[0], SETTINGS, everything) == [None]
    assert judge_fits(fit, scene.truth[0], SETTINGS, nothing) == [filters.IMPROBABLE]
