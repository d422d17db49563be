from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from fourd_humans.config import default_config
from fourd_humans.errors import UsageError
from fourd_humans.geometry.camera import Intrinsics, crop_camera, project
from fourd_humans.motion.hold import hold_pose
from fourd_humans.people import DUPLICATE, Bodies, Detections, Mask, Rejected
from fourd_humans.tracking.tracker import Tracker, TrackRecord

SIZE = (720, 1280)
INTRINSICS = Intrinsics(1500.0, (650.0, 350.0))  # not the released camera
Place = tuple[float, float, float]
JOINTS = np.random.default_rng(0).normal(0, 0.3, (45, 3)).astype(np.float32)
JOINTS[44] = 0


def same_textures(tracks: object, detections: object, pairs: np.ndarray) -> np.ndarray:
    return np.zeros(len(pairs))


def make_tracker(**settings: object) -> Tracker:
    arguments = {"texture_distance": same_textures, "predict_poses": hold_pose} | settings
    return Tracker(**arguments)  # type: ignore[arg-type]


def people(places: Sequence[Place]) -> tuple[Detections, Bodies]:
    """Alike people standing at these places of the camera frame."""
    count = len(places)
    camera = np.array(places, np.float32).reshape(count, 3)
    center = project(np.zeros((count, 1, 3)), camera, INTRINSICS)[:, 0] + 7
    crop_size = np.full(count, 400, np.float32)
    joints = np.tile(JOINTS, (count, 1, 1))
    half = np.array([80, 200])
    boxes = np.concatenate([center - half, center + half], axis=1).astype(np.float32)
    found = Detections(
        boxes,
        np.full(count, 0.9, np.float32),
        masks=[Mask(np.ones((4, 4), bool), 0, 0, SIZE)] * count,
        keypoints=np.concatenate([np.tile(center[:, None], (1, 17, 1)), np.ones((count, 17, 1))], -1).astype(
            np.float32
        ),
        rejected=[Rejected((0, 0, 1, 1), 0.1, "small")],
    )
    identity = np.tile(np.eye(3, dtype=np.float32), (count, 24, 1, 1))
    texture = np.zeros((count, 4, 256, 256), np.float32)
    texture[:, 3] = -1
    bodies = Bodies(
        identity[:, :1],
        identity[:, 1:],
        np.zeros((count, 10), np.float32),
        camera=camera,
        joints_3d=joints,
        joints_2d=project(joints, camera, INTRINSICS),
        focal_length=INTRINSICS.focal_length,
        principal_point=INTRINSICS.principal_point,
        shape_space="open_body",
        texture=texture,
        camera_crop=crop_camera(camera, center, crop_size, INTRINSICS),
        crop_center=center,
        crop_size=crop_size,
        confidence=np.full(count, 0.8, np.float32),
    )
    return found, bodies


def run(tracker: Tracker, frames: Sequence[Sequence[Place]], start: int = 0) -> list[list[TrackRecord]]:
    return [tracker.update(start + i, SIZE, *people(places)) for i, places in enumerate(frames)]


def test_reports_the_first_frames_once_a_track_is_confirmed() -> None:
    records = run(make_tracker(min_hits=4), [[(0, 0, 9)]] * 6)
    assert [[(r.frame, r.id, r.time_since_seen) for r in frame] for frame in records] == [
        [], [], [], [(0, 1, 0), (1, 1, 0), (2, 1, 0), (3, 1, 0)], [(4, 1, 0)], [(5, 1, 0)],
    ]  # fmt: skip
    for record in records[3]:
        assert len(record.detection) == len(record.body) == 1
        assert record.predicted_pose.shape == (229,)
        assert record.predicted_location.shape == (99,)
        assert not record.detection.rejected


def test_confirms_at_once_with_min_hits_1() -> None:
    (first, second) = run(make_tracker(min_hits=1), [[(0, 0, 9)], []])
    assert [r.frame for r in first] == [0]
    assert [r.time_since_seen for r in second] == [1]


def test_confirms_an_annotated_person_at_the_second_observation() -> None:
    tracker = make_tracker()
    for frame in range(2):
        found, bodies = people([(0, 0, 9)])
        records = tracker.update(frame, SIZE, replace(found, annotations=["the king"]), bodies)
    assert [r.frame for r in records] == [0, 1]


def test_removes_a_tentative_track_that_is_missed_once() -> None:
    records = run(make_tracker(), [[(0, 0, 9)]] * 4 + [[]] + [[(0, 0, 9)]] * 5)
    assert {(r.frame, r.id) for frame in records for r in frame} == {(f, 2) for f in range(5, 10)}


def test_ids_follow_people_not_rows() -> None:
    left, right = (-2.0, 0, 9), (2.0, 0, 9)
    records = run(make_tracker(min_hits=1), [[left, right], [right, left], [left, right]])
    for frame in records:
        assert {r.id: round(float(r.body.camera[0, 0])) for r in frame} == {1: -2, 2: 2}


def test_a_hidden_person_moves_on_as_predicted() -> None:
    frames: list[list[Place]] = [[(-1 + 0.1 * t, 0.3, 9 + 0.05 * t)] for t in range(7)]
    before, *hidden = run(make_tracker(), [*frames, [], [], []])[-4:]
    last = before[0]
    for ahead, (record,) in enumerate(hidden, start=1):
        assert (record.id, record.time_since_seen) == (1, ahead)
        expected = (-1 + 0.1 * (6 + ahead), 0.3, 9 + 0.05 * (6 + ahead))
        np.testing.assert_allclose(record.body.camera[0], expected, atol=0.05)
        np.testing.assert_array_equal(record.body.joints_3d, last.body.joints_3d)
        joints_2d = project(record.body.joints_3d, record.body.camera, INTRINSICS)
        np.testing.assert_allclose(record.body.joints_2d, joints_2d, atol=1e-2)

        # the crop has moved along: its own camera, unchanged, still leads to the same place
        body = record.body
        np.testing.assert_array_equal(body.camera_crop, last.body.camera_crop)
        np.testing.assert_allclose(
            crop_camera(body.camera, body.crop_center, body.crop_size, INTRINSICS), body.camera_crop, atol=1e-4
        )
        shift, scale = body.crop_center - last.body.crop_center, float(body.crop_size[0] / last.body.crop_size[0])
        box, old = record.detection.boxes[0], last.detection.boxes[0]
        np.testing.assert_allclose((box[:2] + box[2:]) / 2 - (old[:2] + old[2:]) / 2, shift[0], atol=0.01)
        np.testing.assert_allclose(box[2:] - box[:2], (old[2:] - old[:2]) * scale, rtol=1e-4)

        assert record.detection.masks == [None]
        assert record.detection.keypoints is not None
        assert not record.detection.keypoints[..., 2].any()
        assert record.body.confidence == 0


def test_a_hidden_person_is_posed_as_predicted() -> None:
    def lie_down(poses: np.ndarray, times: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        predicted = poses[:, -1].copy()
        predicted[:, :9] = [0, -1, 0, 1, 0, 0, 0, 0, 1]
        return predicted

    def joints(global_orient: np.ndarray, body_pose: np.ndarray, betas: np.ndarray) -> np.ndarray:
        return (global_orient[:, 0] @ JOINTS.T).swapaxes(1, 2)

    tracker = make_tracker(predict_poses=lie_down, joints=joints)
    (record,) = run(tracker, [[(0, 0, 9)]] * 5 + [[]])[-1]
    np.testing.assert_array_equal(record.body.global_orient[0, 0], [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(record.body.joints_3d[0, :, 0], -JOINTS[:, 1], atol=1e-6)
    np.testing.assert_array_equal(record.body.joints_2d, project(record.body.joints_3d, record.body.camera, INTRINSICS))


def test_keeps_the_id_across_an_absence_until_the_track_is_too_old() -> None:
    seen, away = [[(0.0, 0, 9)]] * 6, [[]] * 10
    back = run(make_tracker(max_age=10), [*seen, *away, *seen])[-1]
    assert [r.id for r in back] == [1]
    tracker = make_tracker(max_age=9)
    assert [len(records) for records in run(tracker, [*seen, *away])][-2:] == [1, 0]
    assert [r.id for r in run(tracker, seen, start=16)[-1]] == [2]


def test_a_cut_replaces_the_location_history() -> None:
    tracker = make_tracker()
    run(tracker, [[(-1.5 + 0.02 * t, 0, 9)] for t in range(8)])
    (track,) = tracker.tracks
    track.next.location[93:95] = 3.0  # as unsure as it gets, so that the jump is accepted
    (record,) = tracker.update(8, SIZE, *people([(1.5, 0, 9)]), is_cut=True)
    assert record.id == 1
    assert (tracker.tracks[0].locations == tracker.tracks[0].locations[-1]).all()


def test_different_appearances_make_different_tracks() -> None:
    def different(tracks: object, detections: object, pairs: np.ndarray) -> np.ndarray:
        return np.full(len(pairs), 50.0)

    run(tracker := make_tracker(texture_distance=different), [[(0, 0, 9)]] * 3)
    assert [track.id for track in tracker.tracks] == [3]


def test_appearance_decides_where_location_does_not() -> None:
    def difference(tracks: Sequence[np.ndarray], detections: Sequence[np.ndarray], pairs: np.ndarray) -> np.ndarray:
        return np.array([abs(tracks[i][0] - detections[j][0]).mean() for i, j in pairs])

    tracker = make_tracker(texture_distance=difference, min_hits=1)
    for frame in range(6):
        dark, light = (-0.01, 0.01) if frame % 2 else (0.01, -0.01)
        found, bodies = people([(dark, 0, 9), (light, 0, 9)])
        assert bodies.texture is not None
        bodies.texture[1, :3], bodies.texture[:, 3] = 1, 1
        records = tracker.update(frame, SIZE, found, bodies)
        assert {r.id: round(float(r.body.camera[0, 0]), 3) for r in records} == {1: dark, 2: light}


def test_textures_mix_slowly_and_fill_in() -> None:
    tracker = make_tracker(min_hits=1)
    found, bodies = people([(0, 0, 9)])
    assert bodies.texture is not None
    bodies.texture[0, :, :, :100] = 1.0
    tracker.update(0, SIZE, found, bodies)
    later = np.zeros_like(bodies.texture)
    later[:, 3], later[0, :, :, 50:150] = -1, 0.5
    later[0, 3, :, 50:150] = 1
    tracker.update(1, SIZE, found, replace(bodies, texture=later))

    texture = tracker.tracks[0].texture
    alpha = 0.1 * 0.9**2  # the released code's, with the detection's score
    np.testing.assert_allclose(texture[:3, :, :50], 1)
    np.testing.assert_allclose(texture[:3, :, 50:100], (1 - alpha) + alpha * 0.5, rtol=1e-6)
    np.testing.assert_allclose(texture[:3, :, 100:150], 0.5)
    assert not texture[:3, :, 150:].any()
    assert (texture[3, :, :150] == 1).all()
    assert (texture[3, :, 150:] == -1).all()


def test_the_default_settings_are_the_released_ones() -> None:
    released = {
        "history": 7, "max_age": 50, "min_hits": 5, "threshold": 100, "texture_mixing": 0.1, "pose_distance_limit": 1.5,
    }  # fmt: skip
    for settings in (make_tracker(), default_config().tracking):
        assert {name: getattr(settings, name) for name in released} == released


def test_compares_textures_only_where_they_can_matter() -> None:
    asked = []

    def count(tracks: object, detections: object, pairs: np.ndarray) -> np.ndarray:
        asked.append(len(pairs))
        return np.zeros(len(pairs))

    apart: list[Place] = [(3.0 * x, 0, 9) for x in (-1, 0, 1)]  # by 500 pixels
    run(tracker := make_tracker(texture_distance=count), [apart] * 4)
    assert asked == [7, 3, 3]
    assert [track.id for track in tracker.tracks] == [1, 2, 3]


def crossing(frame: int) -> list[Place]:
    """One person passes close in front of another one."""
    return [(-0.6 + 0.1 * frame, 0, 9), (0.6 - 0.1 * frame, 0, 9.5)]


def uncertain(places: Sequence[Place], scores: Sequence[float]) -> tuple[Detections, Bodies]:
    """People who may all be one person."""
    found, bodies = people(places)
    group = np.zeros(len(places), np.int64)
    return replace(found, scores=np.array(scores, np.float32), group=group), bodies


def test_two_people_who_pass_close_stay_two() -> None:
    tracker = make_tracker(min_hits=3)
    run(tracker, [crossing(frame) for frame in range(6)])
    ids = {track.id for track in tracker.tracks}
    for frame in range(6, 9):
        found, bodies = tracker.resolve_duplicates(frame, SIZE, *uncertain(crossing(frame), [0.9, 0.4]))
        assert found.group is None
        records = tracker.update(frame, SIZE, found, bodies)
        assert {r.id for r in records if r.time_since_seen == 0} == ids


@pytest.mark.parametrize("tracked", [1, 2])
def test_a_person_who_is_detected_twice_stays_one(tracked: int) -> None:
    """With the other person of two hidden for a frame as well."""
    tracker = make_tracker(min_hits=3)
    run(tracker, [crossing(frame)[:tracked] for frame in range(5)] + [crossing(5)[:1]])
    (x, y, z) = crossing(6)[0]
    found, bodies = tracker.resolve_duplicates(6, SIZE, *uncertain([(x, y, z), (x + 0.05, y, z)], [0.9, 0.4]))
    assert len(found) == len(bodies) == 1
    assert found.scores[0] == pytest.approx(0.9)
    assert [rejected.reason for rejected in found.rejected] == ["small", DUPLICATE]
    records = tracker.update(6, SIZE, found, bodies)
    assert len([r for r in records if r.time_since_seen == 0]) == 1


def test_after_a_cut_nobody_is_expected() -> None:
    tracker = make_tracker(min_hits=3)
    run(tracker, [crossing(frame) for frame in range(6)])
    found, _ = tracker.resolve_duplicates(6, SIZE, *uncertain(crossing(6), [0.9, 0.4]), is_cut=True)
    assert len(found) == 1


def test_follows_a_crowd() -> None:
    crowd: list[Place] = [(0.7 * x, 0.9 * y, 40.0) for x in range(-10, 10) for y in range(-3, 3)]
    found, bodies = people(crowd)
    bodies = replace(bodies, texture=np.broadcast_to(np.float32(0), (len(crowd), 4, 256, 256)))
    tracker = make_tracker(min_hits=1)
    for frame in range(2):
        shuffled = np.random.default_rng(frame).permutation(len(crowd))
        records = tracker.update(frame, SIZE, found[shuffled], bodies[shuffled])
    first = np.random.default_rng(0).permutation(len(crowd))
    assert {r.id - 1 for r in records} == set(range(len(crowd)))
    for record in records:
        np.testing.assert_array_equal(record.body.camera[0], bodies.camera[first[record.id - 1]])


def test_nobody() -> None:
    tracker = make_tracker()
    nobody = Detections.empty(), Bodies.empty("open_body")
    assert tracker.update(0, SIZE, *nobody) == []
    run(tracker, [[(0, 0, 9)]] * 5, start=1)
    assert len(tracker.update(6, SIZE, *nobody)) == 1


@pytest.mark.parametrize(("name", "value"), [("betas", np.nan), ("camera_crop", np.inf), ("crop_size", -5)])
def test_rejects_bodies_that_are_not_finite(name: str, value: float) -> None:
    found, bodies = people([(0, 0, 9), (1, 0, 9)])
    getattr(bodies, name)[1] = value
    with pytest.raises(ValueError, match="frame 3: person 1 "):
        make_tracker().update(3, SIZE, found, bodies)


def test_bodies_without_crop_cameras_get_those_of_their_boxes() -> None:
    """The crops of `people` are the squares around their boxes, so both ways must give the same records."""
    places: list[list[Place]] = [[(0.1 * t, 0, 9), (2, 0.3, 12)] for t in range(7)]
    given, derived = make_tracker(), make_tracker()
    for frame in range(9):
        found, bodies = people(places[frame] if frame < 7 else [])
        without = replace(bodies, camera_crop=None, crop_center=None, crop_size=None)
        expected = given.update(frame, SIZE, found, bodies)
        records = derived.update(frame, SIZE, found, without)
        assert [(r.frame, r.id, r.time_since_seen) for r in records] == [
            (r.frame, r.id, r.time_since_seen) for r in expected
        ]
        for record, other in zip(records, expected, strict=True):
            for name in ("camera_crop", "crop_center", "crop_size", "camera", "joints_2d"):
                np.testing.assert_allclose(getattr(record.body, name), getattr(other.body, name), rtol=1e-5, atol=1e-4)
            np.testing.assert_allclose(record.predicted_location, other.predicted_location, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(record.detection.boxes, other.detection.boxes, atol=1e-3)
    assert [r.time_since_seen for r in records] == [2, 2]


def test_refuses_bodies_without_textures() -> None:
    found, bodies = people([(0, 0, 9)])
    with pytest.raises(ValueError, match="texture"):
        make_tracker().update(0, SIZE, found, replace(bodies, texture=None))


@pytest.mark.parametrize("settings", [{"history": 2}, {"min_hits": 0}, {"max_age": -1}])
def test_refuses_settings_that_cannot_work(settings: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"tracking.{next(iter(settings))}"):
        make_tracker(**settings)
