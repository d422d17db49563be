import numpy as np
import pytest

from fourd_humans.motion.completion import boxes_around
from fourd_humans.people import NUM_JOINTS, Bodies, Detections, Frame
from fourd_humans.tracking.buffer import FixedLagBuffer, empty_frame
from fourd_humans.tracking.tracker import TrackRecord


def body(x):
    """A person whose joints fill a square of 20 pixels at x."""
    joints = np.zeros((1, NUM_JOINTS, 2), np.float32)
    joints[0, :2] = [[x, 0], [x + 20, 20]]
    joints[0, 2:] = [x + 10, 10]
    eye = np.eye(3, dtype=np.float32)
    return Bodies(
        eye[None, None], np.tile(eye, (1, 23, 1, 1)), np.zeros((1, 10), np.float32), np.array([[x, 0, 5]], np.float32),
        np.zeros((1, NUM_JOINTS, 3), np.float32), joints, 1.0, (0.0, 0.0), "test",
    )  # fmt: skip


def record(frame, id, since=0, x=None):
    x = 10.0 * frame if x is None else x
    detection = Detections(np.array([[x - 2, -4, x + 22, 24]], np.float32), np.ones(1, np.float32))
    return TrackRecord(frame, id, since, detection, body(x), np.zeros(229, np.float32), np.zeros(99, np.float32))


def frame(index, **options):
    return empty_frame(Frame(index, index / 30, f"{index:06d}", np.zeros((100, 100, 3), np.uint8)), "test", **options)


def between(frames_seen, bodies, frames_missing):
    """Stands in for the motion model: a straight line."""
    xs = np.interp(frames_missing, frames_seen, bodies.camera[:, 0])
    rows = [body(float(x)) for x in xs]
    return Bodies(**{
        name: np.concatenate([getattr(row, name) for row in rows]) if isinstance(value, np.ndarray) else value
        for name, value in vars(rows[0]).items()
    })  # fmt: skip


def run(buffer, steps):
    """steps: (frame, records) pairs. Returns the final frames and how far behind each came."""
    out, lag = [], {}
    for entry, records in steps:
        for final in buffer.add(entry, records):
            out.append(final)
            lag[final.index] = entry.index - final.index
    out += buffer.finish()
    assert [f.index for f in out] == [entry.index for entry, _ in steps]
    return out, lag


def test_frames_come_in_order_a_few_behind():
    steps = [(frame(t), [record(t, 1)]) for t in range(30)]
    out, lag = run(FixedLagBuffer(min_hits=5, complete=between), steps)
    assert all(f.ids.tolist() == [1] for f in out)
    assert max(lag.values()) <= 5


def test_a_confirmed_track_is_filled_in_behind():
    steps = [(frame(t), []) for t in range(4)]
    steps += [(frame(4), [record(t, 7) for t in (4, 3, 2, 1, 0)])]
    out, _ = run(FixedLagBuffer(min_hits=5), steps)
    assert [f.ids.tolist() for f in out] == [[7]] * 5


def test_the_hidden_are_completed_from_both_sides():
    steps = [(frame(t), [record(t, 1)]) for t in range(10)]
    steps += [(frame(t), [record(t, 1, since=t - 9, x=999)]) for t in range(10, 20)]
    steps += [(frame(t), [record(t, 1)]) for t in range(20, 30)]
    out, lag = run(FixedLagBuffer(min_hits=5, complete=between, context=4), steps)
    assert [f.time_since_seen.tolist() for f in out] == [[0]] * 10 + [[-1]] * 10 + [[0]] * 10
    np.testing.assert_allclose([f.bodies.camera[0, 0] for f in out], 10.0 * np.arange(30), atol=1e-4)
    np.testing.assert_allclose(out[15].detections.boxes[0], [148, -4, 172, 24], atol=1e-3)
    assert lag[10] == 20 + 4 - 10, "the gap is closed `context` frames after the person is back"


@pytest.mark.parametrize("back", [1, 3, 8])
def test_a_gap_is_completed_when_the_track_ends_soon_after_it(back):
    """The track ends before `context` frames have passed since the gap, as it does with a small `max_age`."""
    seen = [*range(10), *range(12, 12 + back)]
    steps = [(frame(t), [record(t, 1)] if t in seen else []) for t in range(40)]
    for t in (10, 11, 12 + back, 13 + back, 14 + back):
        steps[t][1].append(record(t, 1, since=1, x=999))
    out, _ = run(FixedLagBuffer(min_hits=5, complete=between, context=32), steps)
    assert [f.time_since_seen.tolist() for f in out] == [[0]] * 10 + [[-1]] * 2 + [[0]] * back + [[]] * (28 - back)
    np.testing.assert_allclose([out[t].bodies.camera[0, 0] for t in (10, 11)], [100, 110], atol=1e-4)


def test_without_completion_the_trackers_predictions_stay():
    steps = [(frame(t), [record(t, 1, since=max(0, t - 9))]) for t in range(15)]
    out, _ = run(FixedLagBuffer(min_hits=5), steps)
    assert [int(f.time_since_seen[0]) for f in out] == [0] * 10 + [1, 2, 3, 4, 5]


def test_people_who_have_left_are_removed_after_their_last_observation():
    steps = [(frame(t), [record(t, 1, since=max(0, t - 9))]) for t in range(20)]
    steps += [(frame(t), []) for t in range(20, 30)]
    out, lag = run(FixedLagBuffer(min_hits=5, complete=between), steps)
    assert [len(f) for f in out] == [1] * 10 + [0] * 20
    assert lag[21] <= 5, "once the track is gone, frames flow again"


def test_bodies_are_not_completed_across_a_cut():
    steps = [(frame(t), [record(t, 1)]) for t in range(10)]
    steps += [(frame(t, is_cut=t == 12), [record(t, 1, since=t - 9)]) for t in range(10, 15)]
    steps += [(frame(t), [record(t, 1)]) for t in range(15, 20)]
    out, _ = run(FixedLagBuffer(min_hits=5, complete=between, context=2), steps)
    assert [len(f) for f in out] == [1] * 10 + [0] * 5 + [1] * 5


def test_an_unreadable_frame_ends_no_track_and_is_completed():
    steps = [(frame(t, error="broken" if t == 8 else None), [] if t == 8 else [record(t, 1)]) for t in range(20)]
    out, _ = run(FixedLagBuffer(min_hits=5, complete=between, context=2), steps)
    assert out[8].error == "broken"
    assert [int(f.time_since_seen[0]) for f in out] == [0] * 8 + [-1] + [0] * 11


def test_people_are_in_the_order_of_their_identities():
    out, _ = run(FixedLagBuffer(min_hits=1), [(frame(0), [record(0, 5), record(0, 2, x=50)])])
    assert out[0].ids.tolist() == [2, 5]
    assert out[0].bodies.camera[:, 0].tolist() == [50, 0]


def test_boxes_of_the_hidden_keep_their_margins_around_the_joints():
    box = boxes_around(body(100.0), body(0.0), np.array([[-2, -4, 22, 24]], np.float32))
    np.testing.assert_allclose(box, [[98, -4, 122, 24]])
