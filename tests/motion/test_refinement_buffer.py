"""The buffer with a stand-in for the refinement that moves every body by a metre."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from fourd_humans.files.state import load_state, save_state
from fourd_humans.motion.refinement_buffer import LOOKAHEAD, WINDOW, RefinementBuffer, refine_frames
from fourd_humans.people import Bodies, Detections
from fourd_humans.pipeline import STATE_CLASSES


class Shift:
    """Moves bodies by (1, 0, 0) and their joints by 5 pixels, and gives everybody the shape of their first window."""

    def __init__(self):
        self.calls = []

    def __call__(self, window, frame_rate, *, betas=None, previous=None):
        self.calls.append((window, betas, previous))
        shape = np.full(10, len(self.calls), np.float32) if betas is None else betas
        return replace(
            window.bodies,
            camera=window.bodies.camera + np.array([1, 0, 0], np.float32),
            joints_2d=window.bodies.joints_2d + 5,
            betas=np.tile(shape, (len(window.frames), 1)),
        )


@pytest.fixture
def frames(make_frame):
    """200 frames: person 1 throughout, person 2 from 30 to 59, nobody in 100; 101 could not be read."""

    def make(index):
        present = [] if index in (100, 101) else [0, 1] if 30 <= index < 60 else [0]
        frame = make_frame(index, 2, is_cut=False, error="damaged" if index == 101 else None)
        rows = np.array(present, int)
        bodies = frame.bodies[rows] if len(rows) else Bodies.empty("open")
        detections = frame.detections[rows] if len(rows) else Detections.empty()
        ages = np.where((rows == 0) & (index == 10), -1, 0)
        return replace(frame, ids=rows + 1, time_since_seen=ages, bodies=bodies, detections=detections,
                       predicted_pose=None, predicted_location=None)  # fmt: skip

    return [make(index) for index in range(200)]


def test_all_frames_come_in_order_with_everybody_refined_once(frames):
    refined = refine_frames(frames, Shift(), 60.0)
    assert [frame.index for frame in refined] == list(range(200))
    for before, after in zip(frames, refined, strict=True):
        np.testing.assert_array_equal(after.ids, before.ids)
        np.testing.assert_allclose(after.bodies.camera[:, 0], before.bodies.camera[:, 0] + 1, atol=1e-6)


def test_each_person_keeps_the_shape_of_the_first_window(frames):
    refine = Shift()
    refined = refine_frames(frames, refine, 60.0)
    shapes = {id: {frame.bodies.betas[frame.ids == id][0, 0] for frame in refined if id in frame.ids} for id in (1, 2)}
    assert all(len(values) == 1 for values in shapes.values())
    assert shapes[1] != shapes[2]


def test_no_frame_waits_for_more_than_a_window_and_what_it_looks_ahead(frames):
    buffer = RefinementBuffer(Shift(), 60.0)
    for frame in frames:
        for done in buffer.add(frame):
            assert frame.index - done.index <= WINDOW + LOOKAHEAD


def test_windows_follow_one_another(frames):
    refine = Shift()
    refine_frames(frames[:100], refine, 60.0)
    _, first, second = refine.calls  # person 2, person 1, person 1
    assert first[0].frames.tolist() == list(range(WINDOW + LOOKAHEAD))
    assert second[0].frames.tolist() == list(range(WINDOW, 100))
    assert second[2].frames[-1] == WINDOW - 1
    assert not first[0].observed[10]


def test_a_track_ends_where_the_person_is_missing_and_at_a_cut_but_not_at_a_damaged_frame(frames):
    refine = Shift()
    damaged = [replace(frames[i], error="damaged") if i == 100 else frames[i] for i in (98, 99, 100, 102, 103)]
    refine_frames(damaged, refine, 60.0)
    assert [call[0].frames.tolist() for call in refine.calls] == [[98, 99, 102, 103]]
    refine = Shift()
    refine_frames([*frames[98:101], *frames[102:104]], refine, 60.0)
    assert [call[0].frames.tolist() for call in refine.calls] == [[98, 99], [102, 103]]
    refine = Shift()
    refine_frames([*frames[10:12], replace(frames[12], is_cut=True)], refine, 60.0)
    assert [call[0].frames.tolist() for call in refine.calls] == [[10, 11], [12]]
    assert refine.calls[1][2] is None


def test_boxes_of_filled_in_people_move_with_them(frames):
    refined = refine_frames(frames[:20], Shift(), 60.0)
    np.testing.assert_allclose(refined[10].detections.boxes, frames[10].detections.boxes + 5, atol=1e-4)
    np.testing.assert_array_equal(refined[11].detections.boxes, frames[11].detections.boxes)


def test_bodies_that_cannot_be_refined_stay(frames):
    def fail(*arguments, **settings):
        raise np.linalg.LinAlgError("singular")

    refined = refine_frames(frames[:20], fail, 60.0)
    np.testing.assert_array_equal(refined[5].bodies.camera, frames[5].bodies.camera)


def test_goes_on_from_a_saved_state(frames, tmp_path):
    expected = refine_frames(frames, Shift(), 60.0)
    first, second = RefinementBuffer(Shift(), 60.0), RefinementBuffer(Shift(), 60.0)
    refined = [done for frame in frames[:90] for done in first.add(frame)]
    save_state(tmp_path / "state", first.state(), STATE_CLASSES)
    second.restore(load_state(tmp_path / "state", STATE_CLASSES))
    refined += [done for frame in frames[90:] for done in second.add(frame)] + second.finish()
    assert len(refined) == 200
    for a, b in zip(refined, expected, strict=True):
        np.testing.assert_array_equal(a.bodies.camera, b.bodies.camera)


def test_the_shape_of_a_person_who_does_not_come_back_is_forgotten(frames):
    """With a `max_age` of 5: after 5 frames without the person, of which a damaged one does not count, and after 6."""
    with_two, without = frames[40], frames[70]
    damaged = replace(without, ids=without.ids[:0], error="damaged")
    video = [with_two] * 10 + [without] * 3 + [damaged] + [without] * 2 + [with_two] * 10 + [without] * 6
    video += [with_two] * 10
    refine = Shift()
    buffer = RefinementBuffer(refine, 60.0, max_age=5)
    for index, frame in enumerate(video):
        buffer.add(replace(frame, index=index))
    buffer.finish()
    known = {window.frames[0]: betas is not None for window, betas, _ in refine.calls if len(window.frames) == 10}
    assert known == {0: False, 16: True, 32: False}


def test_people_are_refined_in_threads_with_one_thread_for_pytorch(frames):
    threads, order = set(), Shift()

    def refine(window, frame_rate, **others):
        threads.add((threading.current_thread().name.partition("_")[0], torch.get_num_threads()))
        return order(window, frame_rate, **others)

    refine_frames(frames[:90], refine, 60.0)
    assert threads == {("refinement", 1)}


def test_threads_that_begin_afterwards_have_as_many_for_pytorch_as_before(frames):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        refine_frames(frames[:90], Shift(), 60.0)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)
