"""One video on several workers: the results are those of one process."""

from concurrent.futures import Future

import joblib
import numpy as np
import pytest
from thread_worker import ThreadWorker
from white_squares import make_pipeline, write_squares

from fourd_humans.batch.split import BATCHES, Part, SplitObserver, observe_range, pack, unpack
from fourd_humans.batch.workers import local_workers
from fourd_humans.config import apply_settings, default_config
from fourd_humans.errors import FourDHumansError
from fourd_humans.people import Bodies, Detections, Frame
from fourd_humans.pipeline import ObservedFrame
from fourd_humans.run import track
from fourd_humans.video.source import open_source

CONFIG = apply_settings(default_config(), ["motion.predictor=hold"])
FRAMES = 80


@pytest.fixture(scope="module")
def pipeline():
    return make_pipeline(CONFIG)


@pytest.fixture
def video(tmp_path):
    return write_squares(tmp_path / "squares.mp4", FRAMES)


def observer(workers, video, start=None):
    return SplitObserver(workers, Part(video, start, None), CONFIG, make_pipeline)


def assert_same(one, other):
    one, other = joblib.load(one), joblib.load(other)
    assert list(one) == list(other)
    for key in one:
        assert one[key]["tid"] == other[key]["tid"]
        assert repr(one[key]) == repr(other[key])


def test_the_results_are_those_of_one_process(video, tmp_path, pipeline):
    track(video, tmp_path / "whole", pipeline=pipeline)
    worker = ThreadWorker("1")
    split = track(video, tmp_path / "split", pipeline=pipeline, observe=observer([worker], video))
    assert_same(tmp_path / "whole" / "squares.pkl", tmp_path / "split" / "squares.pkl")
    assert split.seconds.keys() >= {"reading", "detection", "recovery", "appearance", "tracking"}


def test_a_part_of_a_video(video, tmp_path, pipeline):
    source = open_source(video, 21, 70)
    track(source, tmp_path / "whole", pipeline=pipeline)
    split = SplitObserver([ThreadWorker("1")], Part(video, 21, 70), CONFIG, make_pipeline)
    track(source, tmp_path / "split", pipeline=pipeline, observe=split)
    assert_same(tmp_path / "whole" / "squares.pkl", tmp_path / "split" / "squares.pkl")


def test_ranges_meet_without_gaps_in_any_order(video):
    part = Part(video, None, None)
    ranges = [(32, 64), (0, 32), (64, 96), (96, 128)]
    found = {begin: observe_range(part, begin, end, CONFIG, make_pipeline) for begin, end in ranges}
    numbers = [packed.observed.frame.index for begin in sorted(found) for packed in found[begin].frames]
    assert numbers == list(range(FRAMES))
    assert [found[begin].ended for begin in sorted(found)] == [False, False, True, True]


def test_a_cut_at_the_beginning_of_a_range_is_seen(tmp_path):
    import av

    path = tmp_path / "cut.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "10", "qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 80, "yuv444p"
        for t in range(16):
            image = np.full((80, 160, 3), 10 if t < 8 else 200, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    found = observe_range(Part(path, None, None), 8, 16, CONFIG, make_pipeline)
    assert [packed.observed.is_cut for packed in found.frames] == [True] + [False] * 7


def test_a_worker_that_dies_is_replaced_and_its_ranges_done_again(video, tmp_path, pipeline):
    class Dying(ThreadWorker):
        def submit(self, function, *arguments):
            if not self.deaths and arguments[1]:
                return self._executor.submit(die)
            return super().submit(function, *arguments)

    track(video, tmp_path / "whole", pipeline=pipeline)
    worker = Dying("1")
    track(video, tmp_path / "split", pipeline=pipeline, observe=observer([worker], video))
    assert worker.deaths >= 1
    assert_same(tmp_path / "whole" / "squares.pkl", tmp_path / "split" / "squares.pkl")


def test_a_range_that_kills_its_workers_ends_the_run(video, tmp_path, pipeline):
    class Deadly(ThreadWorker):
        def submit(self, function, *arguments):
            return self._executor.submit(die)

    with pytest.raises(FourDHumansError, match=r"frames 0 to \d+: it died, 3 times"):
        track(video, tmp_path / "split", pipeline=pipeline, observe=observer([Deadly("1")], video))


def test_stopping_keeps_what_is_under_way(tmp_path, pipeline):
    video = write_squares(tmp_path / "long.mp4", 8 * BATCHES * pipeline.batch_size((80, 160)))
    done = []
    result = track(
        video, tmp_path, pipeline=pipeline, observe=observer([ThreadWorker("1")], video), on_frame=done.append,
        stop=lambda: bool(done),
    )  # fmt: skip
    assert not result.complete
    assert 0 < len(done) <= 3 * BATCHES * pipeline.batch_size((80, 160)) + 80  # which refinement waits for


def test_ranges_go_in_turn_to_the_devices(video, pipeline):
    """Two GPUs, in name: what their workers are told to use is noted, and the work is done here."""
    used = []

    class OnDevice(ThreadWorker):
        def __init__(self, device):
            super().__init__(device)
            self.device = device

        def submit(self, function, part, first, until, config, make):
            used.append((first, config.device))
            done = Future()  # at once: in one process the workers share their open video, as processes do not
            done.set_result(function(part, first, until, CONFIG, make))
            return done

    source = open_source(video)
    frames = list(observer([OnDevice("cuda:0"), OnDevice("cuda:1")], video)(pipeline, source, after=None))
    assert [item.frame.index for item in frames] == list(range(FRAMES))
    assert [device for _, device in sorted(used)][:4] == ["cuda:0", "cuda:1"] * 2


def test_textures_are_packed_without_loss():
    rng = np.random.default_rng(0)
    texture = np.zeros((3, 4, 256, 256), np.float32)
    texture[:, 3] = np.where(rng.random((3, 256, 256)) < 0.3, 1, -1)
    texture[:, :3] = rng.normal(size=(3, 3, 256, 256)) * (texture[:, 3:] == 1)
    bodies = Bodies.empty("open")
    bodies = type(bodies)(**{**vars(bodies), "global_orient": np.zeros((3, 1, 3, 3), np.float32), "texture": texture})
    observed = ObservedFrame(Frame(0, 0.0, "0", np.zeros((8, 8, 0), np.uint8)), False, Detections.empty(), bodies)
    packed = pack(observed)
    assert packed.observed.bodies.texture is None
    assert packed.colours.nbytes + packed.seen.nbytes < texture.nbytes / 3
    np.testing.assert_array_equal(unpack(packed).bodies.texture, texture)
    texture[0, 0, texture[0, 3] == -1] = 1  # of another stage, which puts something there
    np.testing.assert_array_equal(unpack(pack(observed)).bodies.texture, texture)


def test_a_range_is_longer_than_what_completes_a_batch():
    assert BATCHES >= 2


@pytest.mark.slow
def test_two_processes(video, tmp_path, pipeline):
    track(video, tmp_path / "whole", pipeline=pipeline)
    track(video, tmp_path / "split", pipeline=pipeline, observe=observer(local_workers(2), video))
    assert_same(tmp_path / "whole" / "squares.pkl", tmp_path / "split" / "squares.pkl")


def die():
    raise SystemExit
