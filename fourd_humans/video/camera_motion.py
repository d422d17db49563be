"""How the camera moves between keyframes, from the background: features outside people's boxes.

A homography maps the background of one keyframe to the next where the camera only turns about its centre, or where all
of the background lies on one plane. A camera that travels past things near and far fits none.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

KEYFRAME_INTERVAL = 12  # frames
LONG_SIDE = 640  # pixels of the image that features are found in
MIN_SIDE = 64  # pixels of that image, with less than which there is nothing to find
FEATURES = 600
MARGIN = 0.08  # of a person's box on every side, which is left out with it: hair, shadows, what is carried
INLIER_DISTANCE = 2.0  # pixels of the small image
MIN_INLIERS = 20
MIN_INLIER_SHARE = 0.5  # of the matches, from which the background counts as explained


@dataclass(frozen=True)
class Background:
    """What is kept of a keyframe: the feature points (K, 2) in pixels of the full frame, their descriptors (K, 32), and
    how many pixels of the full frame one of the small image is."""

    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    scale: float


def background(image: NDArray[np.uint8], boxes: NDArray[np.floating]) -> Background:
    """The features of an image (H, W, 3) outside the boxes (N, 4) xyxy of people."""
    height, width = image.shape[:2]
    scale = max(height, width) / LONG_SIDE if max(height, width) > LONG_SIDE else 1.0
    nothing = Background(np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8), scale)
    size = round(width / scale), round(height / scale)
    if min(size) < MIN_SIDE:
        return nothing
    grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    allowed = np.full(grey.shape, 255, np.uint8)
    for x1, y1, x2, y2 in np.asarray(boxes, float) / scale:
        across, down = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
        left, top = max(0, int(x1 - across)), max(0, int(y1 - down))
        allowed[top : max(0, int(y2 + down) + 1), left : max(0, int(x2 + across) + 1)] = 0
    keypoints, descriptors = cv2.ORB.create(FEATURES).detectAndCompute(grey, allowed)
    if descriptors is None:
        return nothing
    points = (np.array([keypoint.pt for keypoint in keypoints], np.float32) + 0.5) * np.float32(scale)
    return Background(points, np.asarray(descriptors, np.uint8), scale)


def homography_between(before: Background, after: Background) -> NDArray[np.float64] | None:
    """(3, 3) from pixels of the earlier frame to those of the later one, or None where no single one explains most of
    the background, or where there is too little to tell."""
    if min(len(before.points), len(after.points)) < MIN_INLIERS:
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(before.descriptors, after.descriptors)
    if len(matches) < MIN_INLIERS:
        return None
    start = before.points[[match.queryIdx for match in matches]]
    end = after.points[[match.trainIdx for match in matches]]
    threshold = INLIER_DISTANCE * max(before.scale, after.scale)
    cv2.setRNGSeed(0)  # the same answer in every run
    homography, inliers = cv2.findHomography(start, end, cv2.RANSAC, threshold, maxIters=2000, confidence=0.999)
    if homography is None or inliers.sum() < max(MIN_INLIERS, MIN_INLIER_SHARE * len(matches)):
        return None
    return np.asarray(homography, np.float64)


class CameraMotion:
    """Follows the background from keyframe to keyframe. last: the last keyframe of the shot."""

    def __init__(self) -> None:
        self.last: Background | None = None

    def update(self, keyframe: Background | None, is_cut: bool) -> NDArray[np.float64] | None:
        """The homography (3, 3) from the last keyframe of the shot to this one, in pixels of the full frame.

        keyframe: None where the frame is none. is_cut: a new shot begins with this frame.
        Returns NaN where no homography explains the background, None where there is nothing to compare.
        """
        last = None if is_cut else self.last
        self.last = keyframe if keyframe is not None else last
        if last is None or keyframe is None:
            return None
        homography = homography_between(last, keyframe)
        return np.full((3, 3), np.nan) if homography is None else homography
