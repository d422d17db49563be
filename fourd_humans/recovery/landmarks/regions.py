"""The part of the frame that the landmark network sees of each person, and other people hidden in it.

A region is a square rotated so that the trunk is upright. Without the rotation the network's error grows by half for
people who lie, bend or jump.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourd_humans.people import Float, Mask

INPUT_SIZE = 256  # pixels of the network's input
REGION_SCALE = 2.5  # side of the region over the distance from its centre to the farthest keypoint
MIN_KEYPOINT_SCORE = 0.2  # keypoints that define a region
SHOULDERS, HIPS = [5, 6], [11, 12]  # COCO keypoints
# Bones between COCO keypoints; the last two join the nose to the shoulders.
BONES = ((5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16), (5, 6), (11, 12), (5, 11), (6, 12),
         (0, 5), (0, 6))  # fmt: skip
MIN_BONE_SCORE = 0.3  # of both keypoints, for a bone to be drawn
OTHER_BONE_WIDTH, OWN_BONE_WIDTH = 0.07, 0.08  # of the box's longer side
GREY = np.float32(0.5)


@dataclass(frozen=True)
class Regions:
    """Squares around N people. center: (N, 2) pixels of the frame. side: (N,) pixels.

    angle: (N,) radians by which the square is rotated clockwise in the frame; 0 where the trunk is upright.
    """

    center: NDArray[np.floating]
    side: NDArray[np.floating]
    angle: NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.side)

    def to_frame(self) -> NDArray[np.float64]:
        """(N, 2, 3) affine maps from pixels of the crops to pixels of the frame."""
        scale = (self.side / INPUT_SIZE)[:, None, None]
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        rotation = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1) * scale
        shift = self.center[:, :, None] - rotation @ np.full((2, 1), INPUT_SIZE / 2)
        return np.concatenate([rotation, shift], 2)


def regions_of(keypoints: Float | None, boxes: Float) -> Regions:
    """Regions of people with COCO keypoints (N, 17, 3), or only boxes (N, 4) xyxy.

    The centre is between the hips, and up is from there to between the shoulders. Where the hips or the shoulders are
    not detected, the region is upright around the box's centre.
    """
    box_center, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    of_boxes = Regions(box_center, np.maximum(size.max(1) * REGION_SCALE / 2, 1.0), np.zeros(len(boxes), np.float32))
    if keypoints is None:
        return of_boxes
    points, detected = keypoints[..., :2], keypoints[..., 2] >= MIN_KEYPOINT_SCORE
    hips, shoulders = _mean_of_detected(points, detected, HIPS), _mean_of_detected(points, detected, SHOULDERS)
    up = shoulders - hips
    reach = np.where(detected, np.linalg.norm(points - hips[:, None], axis=2), 0).max(1)
    usable = detected[:, HIPS].any(1) & detected[:, SHOULDERS].any(1) & (reach > 1)
    return Regions(
        np.where(usable[:, None], hips, of_boxes.center).astype(np.float32),
        np.where(usable, reach * REGION_SCALE, of_boxes.side).astype(np.float32),
        np.where(usable, np.arctan2(up[:, 0], -up[:, 1]), 0).astype(np.float32),
    )


def _mean_of_detected(points: Float, detected: NDArray[np.bool_], indices: list[int]) -> Float:
    weight = detected[:, indices, None].astype(np.float32)
    return (points[:, indices] * weight).sum(1) / np.maximum(weight.sum(1), 1)


def crop(image: NDArray[np.uint8], regions: Regions) -> Float:
    """(N, 256, 256, 3) float32 in 0..1; black where a region leaves the image (H, W, 3)."""
    crops = np.empty((len(regions), INPUT_SIZE, INPUT_SIZE, 3), np.float32)
    for row, to_frame in enumerate(regions.to_frame()):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crops[row] = cv2.warpAffine(image, to_frame, (INPUT_SIZE, INPUT_SIZE), flags=flags)
    crops *= np.float32(1 / 255)
    return crops


def mask_in_frame(segmentation: Float, to_frame: NDArray[np.float64], size: tuple[int, int]) -> Mask:
    """The mask in a frame of `size` (height, width), from logits (256, 256) in a crop with the map `to_frame`."""
    height, width = size
    foreground = segmentation > 0
    rows, columns = np.flatnonzero(foreground.any(1)), np.flatnonzero(foreground.any(0))
    if not len(rows):
        return Mask(np.zeros((0, 0), dtype=bool), 0, 0, size)
    x, y = (columns[0], columns[-1] + 1), (rows[0], rows[-1] + 1)
    corners = to_frame[:, :2] @ np.array([[x[0], x[1], x[0], x[1]], [y[0], y[0], y[1], y[1]]]) + to_frame[:, 2:]
    left, top = np.clip(np.floor(corners.min(1)), 0, [width, height]).astype(int).tolist()
    right, bottom = np.clip(np.ceil(corners.max(1)), 0, [width, height]).astype(int).tolist()
    if right <= left or bottom <= top:
        return Mask(np.zeros((0, 0), dtype=bool), 0, 0, size)
    to_window = to_frame - np.array([[0, 0, left], [0, 0, top]])
    warped = cv2.warpAffine(_as_bytes(segmentation), to_window, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    inside = (warped > 128).astype(np.uint8)
    x1, y1, w, h = cv2.boundingRect(inside)
    return Mask(inside[y1 : y1 + h, x1 : x1 + w].astype(bool), left + x1, top + y1, size)


def _as_bytes(segmentation: Float) -> NDArray[np.uint8]:
    """Logits in steps of 1/16 around 128: bytes are several times as fast to warp as floats."""
    return np.clip(segmentation * 16 + 128, 0, 255).astype(np.uint8)


def hide_others(
    crop: Float, row: int, others: NDArray[np.int64], regions: Regions, boxes: Float, keypoints: Float, masks: Float
) -> Float:
    """The crop (256, 256, 3) of person `row` with `others` greyed out, except along the person's own bones.

    Another person is hidden where their mask lies inside their box, and along their bones. The person's own mask does
    not protect: where two people overlap it may be the other's.
    regions, boxes (N, 4), keypoints (N, 17, 3), masks (N, 256, 256) logits in the crops: of everybody in the frame.
    """
    maps = regions.to_frame()
    to_crop = cv2.invertAffineTransform(maps[row])
    size = (INPUT_SIZE, INPUT_SIZE)
    hidden = np.zeros(size, np.uint8)
    for other in others:
        between = to_crop @ np.vstack([maps[other], [0, 0, 1]])
        mask = cv2.warpAffine(_as_bytes(masks[other]), between, size, flags=cv2.INTER_LINEAR)
        x1, y1, x2, y2 = boxes[other]
        corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]) @ to_crop[:, :2].T + to_crop[:, 2]
        box = cv2.fillConvexPoly(np.zeros(size, np.uint8), np.round(corners).astype(np.int32), 1)
        hidden[(mask > 128) & (box > 0)] = 1
        _draw_bones(hidden, keypoints[other], to_crop, OTHER_BONE_WIDTH * max(x2 - x1, y2 - y1), 1)
    _draw_bones(hidden, keypoints[row], to_crop, OWN_BONE_WIDTH * (boxes[row, 2:] - boxes[row, :2]).max(), 0)
    return np.where(hidden[..., None] > 0, GREY, crop)


def _draw_bones(
    image: NDArray[np.uint8], keypoints: Float, to_crop: NDArray[np.floating], width: float, value: int
) -> None:
    """Into `image` (256, 256), in place. keypoints: (17, 3) and width: in pixels of the frame."""
    points = np.clip(np.round(keypoints[:, :2] @ to_crop[:, :2].T + to_crop[:, 2]), -4096, 4096).astype(int)
    thickness = int(np.clip(round(width * np.hypot(*to_crop[:, 0])), 1, INPUT_SIZE // 2))
    for start, end in BONES:
        if min(keypoints[start, 2], keypoints[end, 2]) > MIN_BONE_SCORE:
            cv2.line(image, tuple(points[start].tolist()), tuple(points[end].tolist()), value, thickness)
