"""MoveNet MultiPose: people and their 17 COCO keypoints in one pass of a small network (Google, Apache-2.0).

The published graph keeps six people; here the network's heads are decoded by ourselves, so that any number is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fourd_humans.checkpoints.onnx import load_session
from fourd_humans.detection.interpolation import Detect, InterpolatingDetector
from fourd_humans.detection.limits import Limits
from fourd_humans.detection.nms import keypoint_similarity, suppress
from fourd_humans.detection.settings import MoveNetSettings
from fourd_humans.detection.tiles import Tile, grid, has_small_people, is_whole
from fourd_humans.geometry.boxes import intersection_over_union, share_inside
from fourd_humans.people import DUPLICATE, Detections, Float, Frame, Rejected

WEIGHTS = Path(__file__).parent / "data" / "movenet_multipose_lightning.onnx"
STRIDE = 4  # of the heads, in input pixels
MULTIPLE = 32  # of which the input's sides must be
HEADS = ("center", "box_scale", "box_offset", "kpt_heatmap", "kpt_regress", "kpt_offset")
KEYPOINT_FLOOR = 0.127  # keypoints below it do not count in a person's score (the published graph's figure)
LARGEST_SHRINK = 0.05  # of a frame, for the sake of less padding
TILES = (2, 4)  # tiles across a frame, one after the other as long as people are small in them
CERTAIN_SIMILARITY = 0.9  # of the keypoints of two detections that are one person, whoever is expected to be there
BOX_KEYPOINT_SCORE = 0.3  # keypoints above it belong inside the box


class MoveNetDetector:
    """Finds people in batches of frames of any size.

    image_size: the longer side that the network sees, 256 to 512; larger finds smaller people, at quadratic cost.
    score_threshold: least score of a person, in 0..1.
    nms_threshold: intersection over union above which two boxes with similar keypoints are one person.
    similarity_threshold: object keypoint similarity above which two detections are one person, whatever their boxes.
    min_width, min_height: least size of a box, in pixels of the frame.
    tiles: "auto" also detects in tiles of the frame where several people are small or nobody is certain, "none" never.
    device, threads: see `fourd_humans.checkpoints.onnx.load_session`.
    """

    def __init__(
        self,
        *,
        image_size: int = 448,
        score_threshold: float = 0.15,
        nms_threshold: float = 0.6,
        similarity_threshold: float = 0.5,
        min_width: float = 0.0,
        min_height: float = 0.0,
        tiles: Literal["auto", "none"] = "auto",
        device: str = "cpu",
        threads: int = 0,
        weights: Path = WEIGHTS,
    ) -> None:
        self.image_size = image_size
        self.tiles = tiles
        self.nms_threshold = nms_threshold
        self.similarity_threshold = similarity_threshold
        self.limits = Limits(score_threshold, max(min_width, 1.0), max(min_height, 1.0))
        self.session = load_session(weights, device, threads)

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """The people of each frame, best first; what was found and not kept is in `rejected`."""
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: Frame) -> Detections:
        """One frame at a time: several at once take a sixth longer each on a CPU, and more memory."""
        found, heights = self._candidates(frame.image)
        levels = [found]
        for count in TILES if self.tiles == "auto" else ():
            if max(frame.size) / count < self.image_size or not has_small_people(heights, levels[-1].centers):
                break
            parts = [self._in_tile(frame, tile) for tile in grid(frame.size, count)]
            levels.append(Candidates.joined([found for found, _ in parts]))
            heights = np.concatenate([inside for _, inside in parts])
        return self._choose(Candidates.joined(levels), frame.size, tiled=len(levels) > 1)

    def _candidates(self, image: NDArray[np.uint8]) -> tuple[Candidates, Float]:
        """Who may be in the image (H, W, 3), in its pixels, and their heights (N,) in pixels of the network's input."""
        picture, scale = prepare(image, self.image_size)
        heads = dict(zip(HEADS, self.session.run(list(HEADS), {"image": picture[None]}), strict=True))
        found = decode({name: values[0] for name, values in heads.items()}, self.limits.score / 2)
        return found.scaled(1 / scale), found.boxes[:, 3] - found.boxes[:, 1]

    def _in_tile(self, frame: Frame, tile: Tile) -> tuple[Candidates, Float]:
        """The same of those in a tile whom its edges do not cut, in pixels of the frame."""
        x1, y1, x2, y2 = tile
        found, heights = self._candidates(frame.image[y1:y2, x1:x2])
        found = found.moved(x1, y1)
        whole = is_whole(found.boxes, tile, frame.size)
        return found.where(whole), heights[whole]

    def _choose(self, found: Candidates, size: tuple[int, int], *, tiled: bool = False) -> Detections:
        """Those candidates that are people, each once, as detections of a frame of that (height, width).

        Behind them come those that are suppressed but may be second people, with their `group`.
        """
        boxes = _within(_with_keypoints(found.boxes, found.keypoints), size)
        large, rejected = self.limits.filter(boxes, found.scores)
        boxes, scores, keypoints = boxes[large], found.scores[large], found.keypoints[large]
        similarity = keypoint_similarity(keypoints, boxes)
        same = similarity > self.similarity_threshold
        same |= (intersection_over_union(boxes, boxes) > self.nms_threshold) & (
            similarity > self.similarity_threshold / 2
        )
        if tiled:  # the part of a person that lies in a tile can pass for a person
            part = (share_inside(boxes, boxes) > 0.8) & (similarity > self.similarity_threshold / 4)
            same |= part | part.T
        kept = suppress(scores, same)
        group = np.full(len(kept), -1)
        if len(kept) and not tiled:
            doubtful = _doubtful(scores, kept, similarity > CERTAIN_SIMILARITY)
            best = same[np.ix_(doubtful, kept)].argmax(1)  # `kept` begins with the best
            group[best] = best
            kept, group = np.concatenate([kept, doubtful]), np.concatenate([group, best])
        for row in sorted(set(range(len(boxes))) - set(kept.tolist())):
            x1, y1, x2, y2 = boxes[row].tolist()
            rejected.append(Rejected((x1, y1, x2, y2), float(scores[row]), DUPLICATE))
        known = group if (group >= 0).any() else None
        return Detections(boxes[kept], scores[kept], keypoints=keypoints[kept], rejected=rejected, group=known)


def _doubtful(scores: Float, kept: NDArray[np.int64], certain: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Which of the suppressed detections may be a second person after all, each once, best first: those that are not
    `certain` (N, N) to be another one."""
    others = np.setdiff1d(np.arange(len(scores)), kept)
    others = others[~certain[np.ix_(others, kept)].any(1)]
    return others[suppress(scores[others], certain[np.ix_(others, others)])]


def build(settings: MoveNetSettings, device: str) -> Detect:
    """The detector that the settings ask for, with one thread of its own."""
    detector = MoveNetDetector(
        image_size=settings.image_size,
        score_threshold=settings.score_threshold,
        nms_threshold=settings.nms_threshold,
        min_width=settings.min_width,
        min_height=settings.min_height,
        tiles=settings.tiles,
        device=device,
        threads=1,
    )
    return InterpolatingDetector(detector) if settings.interpolate else detector


@dataclass
class Candidates:
    """Decoded peaks of the centre map, best first: their values `centers` (N,), scores (N,), boxes (N, 4) xyxy,
    keypoints (N, 17, 3)."""

    centers: Float
    scores: Float
    boxes: Float
    keypoints: Float

    def scaled(self, scale: float) -> Candidates:
        """The same people with pixels `scale` times as many."""
        factor = np.array([scale, scale, 1], np.float32)
        return Candidates(self.centers, self.scores, self.boxes * np.float32(scale), self.keypoints * factor)

    def moved(self, x: float, y: float) -> Candidates:
        """The same people in an image of which this one is the part that begins at (x, y)."""
        box, keypoint = np.array([x, y, x, y], np.float32), np.array([x, y, 0], np.float32)
        return Candidates(self.centers, self.scores, self.boxes + box, self.keypoints + keypoint)

    def where(self, chosen: NDArray[np.bool_]) -> Candidates:
        return Candidates(self.centers[chosen], self.scores[chosen], self.boxes[chosen], self.keypoints[chosen])

    @staticmethod
    def joined(parts: Sequence[Candidates]) -> Candidates:
        return Candidates(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Candidates)))


def prepare(image: NDArray[np.uint8], longer_side: int) -> tuple[Float, float]:
    """An RGB image (H, W, 3) as the network takes it, (3, h, w), and the scale from the frame's pixels to its own."""
    height, width = image.shape[:2]
    scale = _scale(height, width, longer_side)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    smaller = image
    while 2 * size[0] <= smaller.shape[1] and 2 * size[1] <= smaller.shape[0]:  # much faster than at once, as sharp
        half = smaller.shape[1] // 2, smaller.shape[0] // 2
        smaller = cv2.resize(smaller, half, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    resized = cv2.resize(smaller, size, interpolation=cv2.INTER_LINEAR)
    padded = np.zeros((3, *(-(-side // MULTIPLE) * MULTIPLE for side in resized.shape[:2])), np.float32)
    padded[:, : size[1], : size[0]] = resized.transpose(2, 0, 1)
    return padded, scale


def _scale(height: int, width: int, longer_side: int) -> float:
    """What makes the longer side so long, or a little less where that saves a strip of padding beside the shorter."""
    scale = longer_side / max(height, width)
    shorter = min(height, width) * scale
    filled = shorter // MULTIPLE * MULTIPLE
    return scale * filled / shorter if filled > (1 - LARGEST_SHRINK) * shorter else scale


def decode(heads: dict[str, Float], minimum_score: float) -> Candidates:
    """People from the heads of one image, each (C, h, w), in the network's input pixels.

    Every cell that is the largest of its 5x5 neighbourhood in the centre map is a person. Its keypoints are the cells
    inside its box with the best product of heatmap and nearness to where the centre expects them.
    minimum_score: of `center`, below which peaks are not looked at.
    """
    center = heads["center"][0]
    height, width = center.shape
    peak = (center >= cv2.dilate(center, np.ones((5, 5), np.uint8))) & (center >= minimum_score)
    rows, columns = np.nonzero(peak)
    order = np.argsort(-center[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    cells = np.stack([rows, columns], 1).astype(np.float32)  # (N, 2) y, x
    limit = np.array([height, width], np.float32)
    middle = cells + heads["box_offset"][:, rows, columns].T
    half = np.maximum(heads["box_scale"][:, rows, columns].T, 0) / 2
    low, high = np.clip(middle - half, 0, limit), np.clip(middle + half, 0, limit)
    expected = cells[:, None] + heads["kpt_regress"][:, rows, columns].T.reshape(-1, 17, 2)
    keypoints = np.zeros((len(rows), 17, 3), np.float32)
    for person in range(len(rows)):
        keypoints[person] = _keypoints(heads, low[person], high[person], expected[person], 0.3 * min(height, width))
    counted = keypoints[..., 2] > KEYPOINT_FLOOR
    mean = (keypoints[..., 2] * counted).sum(1) / np.maximum(counted.sum(1), 1)
    keypoints[..., :2] *= STRIDE
    boxes = np.concatenate([low[:, ::-1], high[:, ::-1]], 1) * STRIDE
    return Candidates(center[rows, columns], center[rows, columns] * mean, boxes, keypoints)


def _keypoints(heads: dict[str, Float], low: Float, high: Float, expected: Float, spread: float) -> Float:
    """One person's keypoints as (17, 3) x, y, score, in cells.

    low, high: (2,) corners of its box, expected: (17, 2) where its centre expects them; all y, x.
    """
    height, width = heads["center"].shape[1:]
    top, left = np.minimum(np.floor(low).astype(int), [height - 1, width - 1])
    bottom, right = np.maximum(np.minimum(np.ceil(high).astype(int) + 1, [height, width]), [top + 1, left + 1])
    # exp(-(dy² + dx²) / spread) is the product of one factor per row and one per column
    near_y = np.exp(-((np.arange(top, bottom) - expected[:, :1]) ** 2) / spread).astype(np.float32)
    near_x = np.exp(-((np.arange(left, right) - expected[:, 1:]) ** 2) / spread).astype(np.float32)
    product = heads["kpt_heatmap"][:, top:bottom, left:right] * near_y[:, :, None] * near_x[:, None, :]
    best = product.reshape(17, -1).argmax(1)
    y, x = top + best // (right - left), left + best % (right - left)
    joint = np.arange(17)
    offset = heads["kpt_offset"].reshape(17, 2, height, width)[joint, :, y, x]
    return np.stack([x + offset[:, 1], y + offset[:, 0], product[joint, y - top, x - left]], 1)


def _with_keypoints(boxes: Float, keypoints: Float) -> Float:
    """(N, 4) boxes widened to hold the keypoints that count: the network's own sometimes cut off a stretched limb."""
    places = keypoints[..., :2]
    counted = (keypoints[..., 2] > BOX_KEYPOINT_SCORE)[..., None]
    low = np.where(counted, places, np.inf).min(1, initial=np.inf)
    high = np.where(counted, places, -np.inf).max(1, initial=-np.inf)
    return np.concatenate([np.minimum(boxes[:, :2], low), np.maximum(boxes[:, 2:], high)], 1).astype(np.float32)


def _within(boxes: Float, size: tuple[int, int]) -> Float:
    """Boxes cut off at the edges of a frame of that (height, width)."""
    height, width = size
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
