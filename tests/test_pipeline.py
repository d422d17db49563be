"""The chain with stages that see white squares: what is tested is the flow, not the networks."""

import logging
import threading
from dataclasses import replace

import numpy as np
import pytest

from fourd_humans.config import apply_settings, default_config
from fourd_humans.people import NUM_JOINTS, TEXTURE_SIZE, Bodies, Detections, Frame
from fourd_humans.pipeline import BATCH_BYTES, MOST_FAILURES, Pipeline
from fourd_humans.video.frames import BadFrame, Source

SIDE = 20


class WhiteSquares:
    """Finds, recovers and textures them; fails on frames whose corner pixel is red."""

    def __init__(self):
        self.batches = []

    def detect(self, frames):
        self.batches.append(len(frames))
        if any(frame.image[0, 0, 0] == 200 for frame in frames):
            raise RuntimeError("red corner")
        return [self._find(frame.image) for frame in frames]

    def _find(self, image):
        ys, xs = np.nonzero(image[..., 1] == 255)
        if not len(xs):
            return Detections.empty()
        box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
        return Detections(box, np.ones(1, np.float32))

    def recover(self, frames, detections):
        return [(d, self._body(d.boxes, frame.size)) for frame, d in zip(frames, detections, strict=True)]

    def _body(self, boxes, size):
        n = len(boxes)
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        eye = np.eye(3, dtype=np.float32)
        camera = np.concatenate([(centers - np.array(size[::-1]) / 2) / 100, np.full((n, 1), 10)], 1).astype(np.float32)
        return Bodies(
            np.tile(eye, (n, 1, 1, 1)), np.tile(eye, (n, 23, 1, 1)), np.zeros((n, 10), np.float32),
            np.tile(np.array([0.9, 0, 0], np.float32), (n, 1)), centers, np.full(n, SIDE, np.float32), camera,
            np.zeros((n, NUM_JOINTS, 3), np.float32), np.repeat(centers[:, None], NUM_JOINTS, 1), 1000.0,
            (size[1] / 2, size[0] / 2), "test",
        )  # fmt: skip

    def texture(self, frames, detections, bodies):
        return [replace(b, texture=np.ones((len(b), 4, TEXTURE_SIZE, TEXTURE_SIZE), np.float32)) for b in bodies]


def picture(x, size=(80, 160)):
    image = np.zeros((*size, 3), np.uint8)
    image[30 : 30 + SIDE, x : x + SIDE] = 255
    return image


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
    assert 10 <= len(seen) < 100
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
