"""The chain with stages that see white squares: what is tested is the flow, not the networks."""

import logging
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_gpu import fake_gpu
from small_hmr2 import SMALL
from white_squares import WhiteSquares, picture

from fourd_humans.body.model import BodyModel
from fourd_humans.config import apply_settings, default_config
from fourd_humans.detection.vitdet.model import ViTDet
from fourd_humans.detection.vitdet.stage import ViTDetDetector
from fourd_humans.geometry.camera import intrinsics_from
from fourd_humans.geometry.crops import with_crop_camera
from fourd_humans.people import Detections, Frame
from fourd_humans.pipeline import BATCH_BYTES, MOST_FAILURES, Pipeline
from fourd_humans.recovery.hmr2.model import HMR2
from fourd_humans.recovery.hmr2.stage import HMR2Recovery
from fourd_humans.video import open_source
from fourd_humans.video.frames import BadFrame, Source


def source_of(images, size=(80, 160)):
    def read():
        for index, image in enumerate(images):
            if image is None:
                yield BadFrame(index, index / 30, f"{index:06d}", "damaged")
            else:
                yield Frame(index, index / 30, f"{index:06d}", image)

    return Source(None, "squares", size, 30.0, len(images), False, False, read)


@pytest.fixture
def squares():
    return WhiteSquares()


@pytest.fixture
def pipeline(squares):
    config = apply_settings(default_config(), ["shots.detect=false"])
    return Pipeline(config, detector=squares.detect, recovery=squares.recover, appearance=squares.texture)


def red(image):
    image = image.copy()
    image[0, 0] = 200, 0, 0
    return image


def test_one_person_has_one_identity_in_every_frame(pipeline):
    frames = list(pipeline.run(source_of([picture(2 * t) for t in range(30)])))
    assert [f.index for f in frames] == list(range(30))
    assert [f.ids.tolist() for f in frames] == [[1]] * 30
    assert {"reading", "detection", "recovery", "appearance", "tracking"} <= set(pipeline.seconds)
    assert all(f.bodies.texture is None for f in frames), "a megabyte a person and frame, kept only on request"


def test_a_hidden_person_is_filled_in_between(pipeline):
    images = [picture(2 * t) if not 15 <= t < 20 else np.zeros((80, 160, 3), np.uint8) for t in range(40)]
    frames = list(pipeline.run(source_of(images)))
    assert [int(f.time_since_seen[0]) for f in frames] == [0] * 15 + [-1] * 5 + [0] * 20
    x = [float(f.bodies.camera[0, 0]) for f in frames]
    assert np.abs(np.diff(x)).max() < 0.05, "it moves on while hidden"


def test_frames_that_cannot_be_read_or_processed_cost_only_themselves(pipeline, caplog):
    images = [picture(2 * t) for t in range(30)]
    images[10], images[20] = None, red(images[20])
    with caplog.at_level(logging.WARNING):
        frames = list(pipeline.run(source_of(images)))
    assert [f.index for f in frames if f.error] == [10, 20]
    assert frames[10].error == "damaged"
    assert "red corner" in frames[20].error
    assert "frame 10" in caplog.text
    assert "frame 20" in caplog.text
    assert {id for f in frames for id in f.ids} == {1}


def test_stages_that_always_fail_end_the_run_after_what_was_done(pipeline):
    images = [picture(2 * t) for t in range(10)] + [red(picture(0))] * (MOST_FAILURES + 5)
    done = []
    with pytest.raises(RuntimeError, match="red corner"):
        done.extend(pipeline.run(source_of(images)))
    assert [f.index for f in done[:10]] == list(range(10))


def test_a_source_that_the_stages_can_use_nothing_of_is_a_failure(pipeline):
    with pytest.raises(RuntimeError, match="red corner"):
        list(pipeline.run(source_of([red(picture(0))])))


def test_stopping_finishes_what_is_under_way(pipeline):
    seen = []
    for frame in pipeline.run(source_of([picture(t % 100) for t in range(1000)]), stop=lambda: len(seen) >= 10):
        seen.append(frame.index)
    assert 10 <= len(seen) < 200  # frames wait for up to 80 later ones to be refined
    assert seen == list(range(len(seen)))


def test_leaving_early_leaves_no_threads(pipeline):
    before = threading.active_count()
    frames = pipeline.run(source_of([picture(t % 100) for t in range(100)]))
    next(frames)
    frames.close()
    assert threading.active_count() == before


def test_large_frames_go_in_smaller_batches(pipeline, squares):
    side = int((BATCH_BYTES / 6) ** 0.5) + 1  # two of them are over the limit
    list(pipeline.run(source_of([np.zeros((side, side, 3), np.uint8)] * 2, size=(side, side))))
    assert squares.batches == [1, 1]


def test_one_image_is_enough_to_be_somebody(pipeline):
    (frame,) = pipeline.run(source_of([picture(10)]))
    assert frame.ids.tolist() == [1]


def test_an_empty_source_gives_nothing(pipeline):
    assert list(pipeline.run(source_of([]))) == []


def test_working_times_are_those_of_one_run(pipeline):
    list(pipeline.run(source_of([picture(2 * t) for t in range(30)])))
    first, long = pipeline.seconds, dict(pipeline.seconds)
    list(pipeline.run(source_of([picture(0)])))
    assert pipeline.seconds["tracking"] < long["tracking"]
    assert first == long, "what a caller has kept of an earlier run stays as it was"


def test_a_stage_works_with_one_thread_whenever_it_begins(pipeline, squares):
    """Sums of more threads differ in their last bits, and a run that is gone on with must give the same numbers."""
    images = [np.zeros((80, 160, 3), np.uint8)] * 15 + [picture(2 * t) for t in range(30)]
    used, before = [], torch.get_num_threads()
    frame_taken, begun = threading.Event(), threading.Event()

    def recover_and_tell(frames, detections):
        if any(len(found) for found in detections):
            frame_taken.wait(10)
            used.append(torch.get_num_threads())
            begun.set()
        return squares.recover(frames, detections)

    pipeline.recover = recover_and_tell
    torch.set_num_threads(3)
    try:
        for _ in pipeline.run(source_of(images)):
            frame_taken.set()
            assert begun.wait(10), "stages are ahead of who takes the frames"
    finally:
        torch.set_num_threads(before)
    assert set(used) == {1}


def test_the_callers_torch_keeps_its_threads_between_frames(pipeline):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        during = []
        pipeline.detect = lambda frames, detect=pipeline.detect: (
            during.append(torch.get_num_threads()) or detect(frames)
        )
        for _ in pipeline.run(source_of([picture(2 * t) for t in range(30)])):
            assert torch.get_num_threads() == 3
        assert set(during) == {1}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("field", "value"),
    [("betas", np.nan), ("camera", np.inf), ("joints_3d", np.nan), ("crop_size", 0.0), ("camera", -1.0)],
)
def test_a_body_that_is_not_finite_costs_only_itself(squares, field, value):
    def recover(frames, detections):
        recovered = squares.recover(frames, detections)
        recovered = [(kept, with_crop_camera(bodies, kept.boxes)) for kept, bodies in recovered]
        for frame, (_, bodies) in zip(frames, recovered, strict=True):
            if 10 <= frame.index < 12 and len(bodies):
                getattr(bodies, field)[0] = value
        return recovered

    config = apply_settings(default_config(), ["shots.detect=false"])
    chain = Pipeline(config, detector=squares.detect, recovery=recover, appearance=squares.texture)
    frames = list(chain.run(source_of([picture(2 * t) for t in range(30)])))
    assert [f.ids.tolist() for f in frames] == [[1]] * 30
    assert [int(f.time_since_seen[0]) for f in frames] == [-1 if 10 <= t < 12 else 0 for t in range(30)]
    assert [len(f.detections.rejected) for f in frames] == [int(10 <= t < 12) for t in range(30)]
    assert frames[10].error is None
    assert "not finite" in frames[10].detections.rejected[0].reason


def test_a_recovery_is_given_as_many_people_as_it_likes(squares):
    given = []

    class Recovery:
        people_at_once = 12

        def __call__(self, frames, detections):
            given.append((len(frames), sum(map(len, detections))))
            return squares.recover(frames, detections)

    config = apply_settings(default_config(), ["shots.detect=false"])
    chain = Pipeline(config, detector=squares.detect, recovery=Recovery(), appearance=squares.texture)
    nobody = [np.zeros((80, 160, 3), np.uint8)] * 50
    frames = list(chain.run(source_of([picture(2 * t) for t in range(30)] + nobody)))
    assert [f.index for f in frames] == list(range(80))
    assert given == [(18, 18), (18, 12), (44, 0)], "batches of 9, at most 8 together"


def test_frames_are_copied_once_for_all_stages(pipeline, squares):
    """To a GPU, whose place the CPU takes here."""
    shared = []
    pipeline.share_on = torch.device("cpu")
    pipeline.detect = lambda frames: shared.extend(frame.pixels for frame in frames) or squares.detect(frames)
    pipeline.recover = lambda frames, found: (
        shared.extend(frame.pixels for frame in frames) or squares.recover(frames, found)
    )
    images = [picture(2 * t) for t in range(5)]
    images[2] = None
    frames = list(pipeline.run(source_of(images)))
    assert [f.error for f in frames] == [None, None, "damaged", None, None]
    assert len(shared) == 8
    assert all(one is other for one, other in zip(shared[:4], shared[4:], strict=True))
    np.testing.assert_array_equal(shared[1], images[1])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_frames(squares):
    """Python's objects and numpy's arrays of the whole chain: constant once the buffers are full."""
    config = apply_settings(default_config(), ["shots.detect=true"])
    chain = Pipeline(config, detector=squares.detect, recovery=squares.recover, appearance=squares.texture)
    held = []
    tracemalloc.start()
    try:
        for _ in chain.run(source_of([picture(20 + t % 60) for t in range(300)])):
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert min(held[200:280]) - min(held[60:140]) < 140 * 2000, "a frame's records are five times that"


@pytest.fixture
def chain():
    """Without detection and recovery, and without textures."""
    config = apply_settings(default_config(), ["shots.detect=false", "detection.batch_size=2"])
    return Pipeline(config, appearance=lambda frames, detections, bodies: list(bodies))


def set_networks(chain, device):
    """Those of `paper`, small, with random weights, and poses that depend on the picture. All frames have two people in
    the same places."""
    torch.manual_seed(0)
    heads = {"box_convolutions": (8,), "box_hidden": 16, "mask_convolutions": (8,)}
    vitdet, hmr2 = (
        ViTDet(width=32, depth=2, heads=2, window_blocks=(0,), image_size=64, channels=8, **heads),
        HMR2(**SMALL),
    )
    with torch.no_grad():
        hmr2.smpl_head.decpose.weight.mul_(100)
    everybody = Detections(np.array([[10, 10, 50, 70], [60, 5, 120, 75]], np.float32), np.ones(2, np.float32))
    detector = ViTDetDetector(vitdet, device)
    chain.detect = lambda frames: [everybody for _ in detector(frames)]
    chain.recover = HMR2Recovery(hmr2, BodyModel.open_body(), device, intrinsics_from, precision="float32")
    chain.share_on = torch.device(device) if device == "cuda" else None
    return detector


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
def test_frames_go_to_a_fake_gpu_once_and_each_batch_waits_once(chain, monkeypatch):
    """Stage after stage in one thread, since the fake GPU is that of a thread."""
    monkeypatch.setattr("fourd_humans.pipeline.read_ahead", lambda items, depth: (item for item in items))
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **options: tensor)  # it needs values
    with fake_gpu() as gpu:
        detector = set_networks(chain, "cuda")
        gpu.values[8, 3] = np.ones(3)  # cameras
        gpu.waits.clear()
        gpu.default_stream.operations.clear()
        found = list(chain.observe(source_of([picture(2 * t) for t in range(4)])))
    assert [len(item.bodies) for item in found] == [2] * 4
    assert gpu.waits == []
    copies = [name for name in gpu.default_stream.operations if "copy" in name]
    assert len(copies) == gpu.default_stream.waits == 2, "one of each batch"
    assert detector._stream.waits == 2
    assert chain.recover._stream.waits == 1, "the people of all batches together"
    assert detector._stream.kept == chain.recover._stream.kept == [(80, 160, 3)] * 4


def joints_in_different_pictures(chain, device, count):
    set_networks(chain, device)
    images = np.random.default_rng(0).integers(0, 256, (count, 80, 160, 3), np.uint8)
    return np.stack([item.bodies.joints_3d for item in chain.observe(source_of(list(images)))])


def test_joints_depend_on_the_picture(chain):
    joints = joints_in_different_pictures(chain, "cpu", 4)
    assert np.abs(np.diff(joints, axis=0)).max((1, 2, 3)).min() > 0.02


@pytest.mark.gpu
def test_frames_that_stages_share_on_a_gpu_give_the_bodies_of_the_cpu(chain):
    """Everybody from the right picture: no copy is read before it is complete, no memory used again too early."""
    expected = joints_in_different_pictures(chain, "cpu", 40)
    for _ in range(5):
        np.testing.assert_allclose(joints_in_different_pictures(chain, "cuda", 40), expected, atol=1e-3)


@pytest.mark.gpu
def test_the_chain_on_a_gpu_tracks_the_same_people(tmp_path):
    """The demo video with the built-in networks, and the motion network and bodies on the device."""
    demo = Path(__file__).parents[1] / "demo_videos" / "two_people.mp4"
    on_cpu, on_gpu = (
        list(Pipeline(apply_settings(default_config(), [f"device={device}"])).run(open_source(demo, end=40)))
        for device in ("cpu", "cuda")
    )
    assert [frame.ids.tolist() for frame in on_gpu] == [frame.ids.tolist() for frame in on_cpu]
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_allclose(ours.bodies.joints_2d, theirs.bodies.joints_2d, atol=2)
