"""The built-in recovery on real frames: bodies lie on people, whatever the frame, the boxes and the camera."""

from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from fourd_humans.body.joints import COCO_17
from fourd_humans.body.model import BodyModel
from fourd_humans.detection.movenet import MoveNetDetector
from fourd_humans.geometry.camera import intrinsics_from, project, released_intrinsics
from fourd_humans.people import Detections, Frame
from fourd_humans.recovery.landmarks.recovery import LandmarkRecovery
from fourd_humans.video import open_source

DEMO = Path(__file__).parents[3] / "demo_videos"


@pytest.fixture(scope="module")
def body_model():
    return BodyModel.open_body()


@pytest.fixture(scope="module")
def frame():
    return next(islice(open_source(DEMO / "two_people.mp4", start=30), 1))


@pytest.fixture(scope="module")
def found(frame):
    return MoveNetDetector(threads=1)([frame])[0]


@pytest.fixture(scope="module")
def recover(body_model):
    return LandmarkRecovery(body_model, released_intrinsics, threads=1)


def check(found, bodies):
    """Finite, rotations, and joints in the image that are those in 3D as the camera sees them."""
    rotations = np.concatenate([bodies.global_orient, bodies.body_pose], 1)
    for array in (rotations, bodies.betas, bodies.camera, bodies.joints_3d, bodies.joints_2d):
        assert np.isfinite(array).all()
    np.testing.assert_allclose(
        rotations @ rotations.swapaxes(-1, -2), np.broadcast_to(np.eye(3), rotations.shape), atol=1e-4
    )
    assert (np.linalg.det(rotations) > 0).all()
    assert np.abs(bodies.betas).max(initial=0) < 4
    assert (bodies.camera[:, 2] > 0).all()
    camera = intrinsics_from((1, 1), matrix=matrix(bodies))
    np.testing.assert_allclose(project(bodies.joints_3d, bodies.camera, camera), bodies.joints_2d, atol=0.01)
    assert len(found.masks) == len(found) == len(bodies)


def matrix(bodies):
    (x, y), f = bodies.principal_point, bodies.focal_length
    return [f, 0, x, 0, f, y, 0, 0, 1]


def distance(found, bodies):
    """Of projected joints to keypoints, as a share of the box's height."""
    apart = np.linalg.norm(bodies.joints_2d[:, COCO_17] - found.keypoints[..., :2], axis=2).mean(1)
    return apart / (found.boxes[:, 3] - found.boxes[:, 1])


@pytest.mark.parametrize("view", [None, 35, 70])
def test_bodies_lie_on_people(body_model, frame, found, view):
    recover = LandmarkRecovery(body_model, partial(intrinsics_from, field_of_view=view), threads=1)
    ((kept, bodies),) = recover([frame], [found])
    check(kept, bodies)
    assert len(bodies) == 3
    assert (distance(kept, bodies) < 0.06).all()
    assert (bodies.joints_3d[:, 0, 1] < bodies.joints_3d[:, 11, 1]).all()  # noses above ankles: y is down


def test_masks_lie_in_the_boxes(frame, found, recover):
    ((kept, _),) = recover([frame], [found])
    for mask, (x1, y1, x2, y2) in zip(kept.masks, kept.boxes.astype(int), strict=True):
        full = mask.full()
        assert full.shape == frame.size
        assert full[max(y1 - 40, 0) : y2 + 40, max(x1 - 40, 0) : x2 + 40].sum() > 0.9 * full.sum()
        assert full[y1:y2, x1:x2].mean() > 0.15


def test_frames_in_a_batch_are_independent(frame, found, recover):
    nobody = Frame(1, 0.1, "1", np.zeros((40, 30, 3), np.uint8))
    batch = recover([nobody, frame], [Detections.empty(), found])
    assert len(batch[0][1]) == 0
    alone = recover([frame], [found])[0][1]
    np.testing.assert_allclose(batch[1][1].joints_2d, alone.joints_2d, atol=1.0)


def test_frames_without_people(frame, recover):
    ((kept, bodies),) = recover([frame], [Detections.empty()])
    assert len(kept) == len(bodies) == 0


def test_boxes_without_keypoints(frame, found, recover):
    ((kept, bodies),) = recover([frame], [Detections(found.boxes, found.scores)])
    check(kept, bodies)
    assert bodies.confidence is None  # there is nothing to compare the landmarks with
    assert len(bodies) >= 2


def test_truncated_people_stay_bounded(frame, found, recover):
    top, bottom = frame.image[:800], frame.image[900:]
    frames = [Frame(i, i / 30, str(i), image) for i, image in enumerate((top, bottom))]
    shifted = found.keypoints - np.float32([0, 900, 0])
    boxes = found.boxes - np.float32([0, 900, 0, 900])
    cut = Detections(boxes, found.scores, keypoints=shifted)
    for kept, bodies in recover(frames, [found, cut]):
        check(kept, bodies)


def test_a_box_with_nobody_in_it_is_rejected_with_a_reason(recover):
    empty = Frame(0, 0.0, "0", np.full((300, 300, 3), 90, np.uint8))
    ((kept, bodies),) = recover([empty], [Detections(np.float32([[50, 50, 150, 250]]), np.float32([0.9]))])
    assert len(kept) == len(bodies) == 0
    assert "no landmarks" in kept.rejected[0].reason


def test_left_and_right_come_from_the_keypoints(frame, found, recover):
    """Seen from behind instead: the same picture, with keypoints' left and right exchanged."""
    other_side = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    turned = Detections(found.boxes, found.scores, keypoints=found.keypoints[:, other_side])
    ((_, before), (_, after)) = recover([frame, frame], [found, turned])
    hips = [28, 27]  # left, right
    along = [(b.joints_2d[:, hips[0], 0] - b.joints_2d[:, hips[1], 0]) for b in (before, after)]
    assert (np.sign(along[0]) == -np.sign(along[1])).sum() >= 2


def test_confidence_falls_where_landmarks_and_keypoints_disagree(frame, found, recover):
    elsewhere = found.keypoints.copy()
    elsewhere[1, 13:17, :2] += 0.15 * (found.boxes[1, 3] - found.boxes[1, 1])  # knees and ankles
    wrong = Detections(found.boxes, found.scores, keypoints=elsewhere)
    (_, bodies), (_, doubtful) = recover([frame, frame], [found, wrong])
    assert ((bodies.confidence > 0) & (bodies.confidence <= 1)).all()
    assert bodies.confidence[1] > 0.4
    assert doubtful.confidence[1] < 0.5 * bodies.confidence[1]


def test_people_whose_reading_is_doubtful_are_read_again_without_the_others(frame, found, recover, monkeypatch):
    """Where boxes overlap and landmarks lie far from the keypoints, and only there."""
    crops = []
    network = recover.network
    monkeypatch.setattr(
        recover, "network", lambda pictures, regions: crops.append(pictures) or network(pictures, regions)
    )
    recover([frame], [found[:1]])
    assert sum(map(len, crops)) == 1
    crops.clear()
    elsewhere = found.keypoints.copy()
    elsewhere[0, 13:17, :2] += 0.2 * (found.boxes[0, 3] - found.boxes[0, 1])
    everywhere = np.tile(np.float32([0, 0, *frame.size[::-1]]), (len(found), 1))
    recover([frame], [Detections(everywhere, found.scores, keypoints=elsewhere)])
    assert sum(map(len, crops)) > len(found)
    assert any((picture == 0.5).all(-1).mean() > 0.01 for picture in np.concatenate(crops)[len(found) :])


def test_landmarks_of_people_who_hardly_move_are_read_at_both_ends_of_a_batch(frame, found, recover, monkeypatch):
    crops, network = [], recover.network
    monkeypatch.setattr(recover, "network", lambda seen, regions: crops.append(seen) or network(seen, regions))
    frames = [Frame(i, i / 30, str(i), frame.image) for i in range(3)]
    moved = found.keypoints.copy()
    moved[2, :, 0] += 0.2 * (found.boxes[2, 3] - found.boxes[2, 1])
    (_, before), (kept, bodies), (_, after) = recover(frames, [found, found, found])
    assert sum(map(len, crops)) == 2 * len(found)
    check(kept, bodies)
    np.testing.assert_allclose(bodies.joints_3d, before.joints_3d, atol=1e-3)
    np.testing.assert_allclose(after.joints_3d, before.joints_3d, atol=1e-3)
    crops.clear()
    recover(frames, [found, found, replace(found, keypoints=moved)])
    assert sum(map(len, crops)) > 2 * len(found)
    crops.clear()
    monkeypatch.setattr(recover, "interpolate", False)
    recover(frames, [found, found, found])
    assert sum(map(len, crops)) == 3 * len(found)


def test_people_who_are_read_at_the_same_time_are_those_read_one_by_one(body_model, frame, found, recover):
    together = LandmarkRecovery(body_model, released_intrinsics, parallel=3, threads=1)
    (_, one_by_one), (_, at_once) = recover([frame], [found])[0], together([frame], [found])[0]
    np.testing.assert_array_equal(at_once.joints_3d, one_by_one.joints_3d)
    np.testing.assert_array_equal(at_once.camera, one_by_one.camera)
