"""The built-in detector: decoding against loops written from the description, real frames, and odd ones."""

import hashlib
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from fourd_humans.detection.movenet import WEIGHTS, Candidates, MoveNetDetector, decode, prepare
from fourd_humans.detection.nms import keypoint_similarity, suppress
from fourd_humans.geometry.boxes import intersection_over_union
from fourd_humans.people import DUPLICATE, Frame
from fourd_humans.video import open_source

DEMO = Path(__file__).parents[2] / "demo_videos"


@pytest.fixture(scope="module")
def detector():
    return MoveNetDetector(threads=1)


def frames_of(name, start, count):
    return list(islice(open_source(DEMO / name, start=start), count))


def random_heads(rng, height=24, width=18):
    def values(channels, low, high):
        return rng.uniform(low, high, (channels, height, width)).astype(np.float32)

    return {
        "center": values(1, 0, 1), "box_scale": values(2, -2, 14), "box_offset": values(2, -1, 1),
        "kpt_heatmap": values(17, 0, 1), "kpt_regress": values(34, -6, 6), "kpt_offset": values(34, -1, 1),
    }  # fmt: skip


def decode_one(heads, row, column):
    """One peak, cell by cell."""
    height, width = heads["center"].shape[1:]
    middle = np.array([row, column]) + heads["box_offset"][:, row, column]
    half = np.maximum(heads["box_scale"][:, row, column], 0) / 2
    low, high = (np.clip(corner, 0, [height, width]) for corner in (middle - half, middle + half))
    keypoints = []
    for j in range(17):
        y, x = np.array([row, column]) + heads["kpt_regress"][2 * j : 2 * j + 2, row, column]
        best = (-1.0, 0, 0)
        for cell_y in range(int(low[0]), min(int(np.ceil(high[0])) + 1, height)):
            for cell_x in range(int(low[1]), min(int(np.ceil(high[1])) + 1, width)):
                near = np.exp(-((cell_y - y) ** 2 + (cell_x - x) ** 2) / (0.3 * min(height, width)))
                best = max(best, (heads["kpt_heatmap"][j, cell_y, cell_x] * near, cell_y, cell_x))
        score, cell_y, cell_x = best
        offset = heads["kpt_offset"][2 * j : 2 * j + 2, cell_y, cell_x]
        keypoints.append((4 * (cell_x + offset[1]), 4 * (cell_y + offset[0]), score))
    return 4 * np.array([low[1], low[0], high[1], high[0]]), np.array(keypoints)


def test_decoding_agrees_with_going_through_all_cells():
    heads = random_heads(np.random.default_rng(0))
    found = decode(heads, minimum_score=0.5)
    center = heads["center"][0]
    peaks = []
    for row in range(24):
        for column in range(18):
            around = center[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
            if center[row, column] == around.max() >= 0.5:
                peaks.append((row, column))
    assert len(found.scores) == len(peaks) > 10
    peaks.sort(key=lambda peak: -center[peak])
    for number, peak in enumerate(peaks):
        box, keypoints = decode_one(heads, *peak)
        np.testing.assert_allclose(found.boxes[number], box, atol=1e-4)
        np.testing.assert_allclose(found.keypoints[number], keypoints, atol=1e-3)
        counted = keypoints[:, 2][keypoints[:, 2] > 0.127]
        assert found.scores[number] == pytest.approx(center[peak] * counted.mean(), abs=1e-5)


def test_the_weights_are_the_published_ones():
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest().startswith("56275edf8014fc3e")


def test_everybody_is_found_once(detector):
    (found,) = detector(frames_of("two_people.mp4", 30, 1))
    assert len(found) == 3
    assert (np.diff(found.scores) <= 0).all()
    assert (intersection_over_union(found.boxes, found.boxes)[~np.eye(3, dtype=bool)] < 0.6).all()
    width, height = found.boxes[:, 2] - found.boxes[:, 0], found.boxes[:, 3] - found.boxes[:, 1]
    assert (height > 300).all()
    assert (width > 50).all()


def test_frames_of_several_sizes_go_in_one_batch(detector):
    frames = frames_of("two_people.mp4", 30, 1) + frames_of("walk.mp4", 80, 1)
    together = detector(frames)
    for frame, found in zip(frames, together, strict=True):
        (alone,) = detector([frame])
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=1e-2)
    assert [len(found) for found in together] == [3, 2]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (17, 33), (2160, 3840)])
def test_nobody_in_a_grey_frame_of_any_size(detector, size):
    (found,) = detector([Frame(0, 0.0, "0", np.full((*size, 3), 128, np.uint8))])
    assert len(found) == 0
    assert found.keypoints.shape == (0, 17, 3)


def test_no_frames(detector):
    assert detector([]) == []


def test_what_is_not_kept_is_said():
    frames = frames_of("two_people.mp4", 30, 1)
    (found,) = MoveNetDetector(score_threshold=0.5, min_height=800, threads=1)(frames)
    assert (found.scores >= 0.5).all()
    assert ((found.boxes[:, 3] - found.boxes[:, 1]) >= 800).all()
    reasons = " ".join(rejected.reason for rejected in found.rejected)
    assert "score" in reasons
    assert "smaller" in reasons


def test_frames_are_scaled_to_fill_the_network():
    picture, scale = prepare(np.full((1920, 1088, 3), 255, np.uint8), 512)
    assert picture.shape == (3, 512, 288)  # not 320, nearly all of it padding
    assert scale == pytest.approx(288 / 1088)
    assert picture[:, :508, :288].min() == 255


def test_the_same_person_is_suppressed_and_a_neighbour_is_not():
    rng = np.random.default_rng(1)
    person = np.concatenate([rng.uniform(0, 200, (17, 2)), np.ones((17, 1))], 1).astype(np.float32)
    nudged, neighbour = person + np.float32([2, 2, 0]), person + np.float32([60, 0, 0])
    boxes = np.array([[0, 0, 200, 200], [2, 2, 202, 202], [60, 0, 260, 200]], np.float32)
    similarity = keypoint_similarity(np.stack([person, nudged, neighbour]), boxes)
    assert similarity[0, 1] > 0.9 > 0.5 > similarity[0, 2]
    assert suppress(np.array([0.4, 0.6, 0.5], np.float32), similarity > 0.5).tolist() == [1, 2]


def test_who_may_be_a_second_person_is_left_to_the_tracker():
    """Somebody, the same once more, and somebody very close to them."""
    rng = np.random.default_rng(1)
    person = np.concatenate([rng.uniform(0, 200, (17, 2)), np.ones((17, 1))], 1).astype(np.float32)
    keypoints = np.stack([person, person + np.float32([2, 2, 0]), person + np.float32([22, 0, 0])])
    boxes = np.concatenate([keypoints[..., :2].min(1), keypoints[..., :2].max(1)], 1)
    assert 0.5 < keypoint_similarity(keypoints, boxes)[0, 2] < 0.9
    scores = np.array([0.8, 0.7, 0.5], np.float32)
    detector = MoveNetDetector(threads=1)
    found = detector._choose(Candidates(scores, scores, boxes, keypoints), (400, 400))
    np.testing.assert_array_equal(found.keypoints, keypoints[[0, 2]])
    assert found.group.tolist() == [0, 0]
    assert [rejected.reason for rejected in found.rejected] == [DUPLICATE]
    assert detector._choose(Candidates(scores, scores, boxes, keypoints).where([0, 1]), (400, 400)).group is None
    assert len(detector._choose(Candidates(scores, scores, boxes, keypoints), (400, 400), tiled=True)) == 1
