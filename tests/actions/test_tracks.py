import dataclasses

import numpy as np
import pytest

from fourd_humans.actions.tracks import tracks_of
from fourd_humans.errors import UsageError
from fourd_humans.people import Bodies, Detections, TrackedFrame


def rotation(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


def frame(index, rate, ids, *, seen=None, is_cut=False, degrees=None):
    """A frame whose people turn by `degrees` a second and move one metre a second to the right."""
    count = len(ids)
    seconds = index / rate
    turned = rotation((degrees or 0) * seconds)
    empty = Bodies.empty("smpl")
    bodies = dataclasses.replace(
        empty,
        **{
            f.name: np.zeros((count, *getattr(empty, f.name).shape[1:]), np.float32)
            for f in dataclasses.fields(Bodies)
            if isinstance(getattr(empty, f.name), np.ndarray)
        },
    )
    bodies.global_orient = np.tile(turned, (count, 1, 1, 1))
    bodies.body_pose = np.tile(np.eye(3, dtype=np.float32), (count, 23, 1, 1))
    bodies.camera = np.tile(np.array([seconds, 0, 20], np.float32), (count, 1))
    ages = np.zeros(count, np.int64) if seen is None else np.where(seen, 0, 3)
    boxes = np.tile(np.array([0, 0, 10, 20], np.float32), (count, 1))
    return TrackedFrame(
        index, seconds, f"{index:06d}", (100, 100), np.array(ids, np.int64), ages,
        Detections(boxes, np.ones(count, np.float32)), bodies, is_cut=is_cut,
    )  # fmt: skip


@pytest.mark.parametrize("rate", [12.0, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0, 120.0])
def test_any_frame_rate_becomes_thirty_a_second(rate):
    frames = [frame(i, rate, [4], degrees=40) for i in range(int(2 * rate) + 1)]
    (track,) = tracks_of(frames)
    assert (track.id, track.start) == (4, 0)
    assert len(track) in (60, 61)
    assert track.detected.all()
    clock = np.arange(len(track)) / 30
    slack = 0.11 / rate + 0.002 * clock  # near a frame its values are taken; 29.97 counts as 30
    assert (np.abs(track.poses[:, 226] - clock) <= slack + 1e-4).all()
    angle = np.degrees(np.arctan2(track.poses[:, 3], track.poses[:, 0]))
    assert (np.abs(angle - 40 * clock) <= 40 * slack + 1e-2).all()
    np.testing.assert_allclose(track.poses[:, 228], 0.1, rtol=1e-5)
    np.testing.assert_allclose(track.joints[:, 2], 0.1, rtol=1e-5)


def test_predicted_missing_and_broken_bodies_are_undetected():
    frames = [frame(i, 30, [1]) for i in range(8)]
    frames[2] = frame(2, 30, [1], seen=[False])
    frames[3] = frame(3, 30, [])
    frames[5].bodies.camera[0, 0] = np.nan
    (track,) = tracks_of(frames)
    assert track.detected.astype(int).tolist() == [1, 1, 0, 0, 1, 0, 1, 1]
    assert np.isfinite(track.poses).all()


def test_nothing_is_interpolated_across_a_missing_frame():
    frames = [frame(i, 15, [1]) for i in range(5)]
    frames[2] = frame(2, 15, [])
    (track,) = tracks_of(frames)
    assert track.detected.astype(int).tolist() == [1, 1, 1, 0, 0, 0, 1, 1, 1]


def test_a_cut_begins_a_new_track():
    frames = [frame(i, 30, [1, 2] if i < 6 else [1], is_cut=i == 4) for i in range(9)]
    tracks = tracks_of(frames)
    assert [(track.id, track.start, len(track)) for track in tracks] == [(1, 0, 4), (1, 4, 5), (2, 0, 4), (2, 4, 2)]
    assert [track.id for track in tracks_of(frames, ids=[2])] == [2, 2]


def test_another_frame_rate_may_be_stated():
    assert len(tracks_of([frame(i, 30, [1]) for i in range(10)], rate=15)[0]) == 19


def test_nobody_and_times_that_do_not_increase():
    assert tracks_of([]) == []
    assert tracks_of([frame(0, 30, [])]) == []
    frames = [dataclasses.replace(frame(i, 30, [1]), time=0.5) for i in range(3)]
    with pytest.raises(UsageError, match="do not increase"):
        tracks_of(frames)
