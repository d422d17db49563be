"""How well the bodies in results cover the people: each observed body's silhouette against the person's mask.

    python benchmarks/silhouette.py RESULTS.pkl...

Prints, over the people of at most 25 frames of each file: intersection over union (median, 10th percentile), the body's
area over the mask's, and how far its top lies below the mask's, as a share of the mask's height. Masks hold clothes and
hair, so that a body inside them cannot reach 1. Results of the open body only.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.body.loading import OPEN_BODY
from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.camera import Intrinsics
from fourd_humans.geometry.rasteriser import rasterise
from fourd_humans.results import load_tracklets
from fourd_humans.tracklets import Tracklets

FRAMES = 25
LEAST_AREA = 400  # pixels of a mask that is compared


@torch.inference_mode()
def agreement(tracklets: Tracklets, body_model: BodyModel) -> NDArray[np.float64]:
    """(K, 3): intersection over union, area over area, and the gap at the top over the height."""
    frames = [frame for frame in tracklets if len(frame)]
    found = []
    for frame in frames[:: max(1, len(frames) // FRAMES)]:
        bodies, masks = frame.bodies, frame.detections.masks or [None] * len(frame)
        if bodies.shape_space != OPEN_BODY:
            raise SystemExit(f"the results hold bodies of {bodies.shape_space}, not of {OPEN_BODY}")
        arrays = (bodies.global_orient, bodies.body_pose, bodies.betas)
        vertices = body_model(*map(torch.from_numpy, arrays)).vertices.numpy() + bodies.camera[:, None]
        intrinsics = Intrinsics(bodies.focal_length, bodies.principal_point)
        for row in np.flatnonzero(frame.seen).tolist():
            part = masks[row]
            if part is None or part.pixels.sum() < LEAST_AREA:
                continue
            mask = part.full()
            body = rasterise(vertices[row : row + 1], body_model.faces, intrinsics, frame.size)[1] >= 0
            rows, drawn = np.flatnonzero(mask.any(1)), np.flatnonzero(body.any(1))
            gap = (drawn[0] - rows[0]) / (rows[-1] - rows[0] + 1) if len(drawn) else np.nan
            found.append(((mask & body).sum() / (mask | body).sum(), body.sum() / mask.sum(), gap))
    return np.array(found).reshape(-1, 3)


def main() -> None:
    body_model = BodyModel.open_body()
    for path in sys.argv[1:]:
        found = agreement(load_tracklets(path), body_model)
        if not len(found):
            print(f"{path}: no masks")
            continue
        overlap, area, gap = found.T
        print(
            f"{path}: {len(found)} bodies, IoU median {np.median(overlap):.3f}, 10th percentile "
            f"{np.percentile(overlap, 10):.3f}, area {np.median(area):.2f}, top {np.nanmedian(gap):.1%} too low"
        )


if __name__ == "__main__":
    main()
