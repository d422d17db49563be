"""How far tracked people are from multi-view truth: pose, direction, jitter and identity.

    python benchmarks/pose_accuracy.py RESULTS.pkl TRUTH.npz --camera C [--person K]

TRUTH.npz holds `joints` (T, 12, 3) or (T, K, 12, 3), metres in the world, left before right in the order shoulders,
elbows, wrists, hips, knees, ankles, and of each camera `rotation`, `translation`, `intrinsics` and `distortion`
(OpenCV's five numbers). In each frame the person whose projected joints lie nearest to the truth is compared, if they
lie within a fifth of the person's height; left and right may be exchanged for that, so that a body that faces the wrong
way counts. Bodies predicted ahead of the last observation do not count, filled-in ones do. Results and truth start
together.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from fourd_humans.body.joints import LIMB_12, LIMB_NAMES
from fourd_humans.evaluation.pose import pa_mpjpe
from fourd_humans.results import load_tracklets
from fourd_humans.tracklets import Tracklets

Array = NDArray[np.float64]

SIDES = ("left", "right")
NAMES = [f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in SIDES]
JOINTS = [LIMB_12[LIMB_NAMES.index(name)] for name in NAMES]
EXCHANGED = [i ^ 1 for i in range(12)]
SHOULDERS, HIPS = [0, 1], [6, 7]
FARTHEST = 0.2  # of the person's height, median over the joints
TRUTH_SIGMA = 2.0  # frames over which the truth is smoothed before its acceleration is taken


@dataclass(frozen=True)
class Accuracy:
    """frames: share of frames with a body. pa, mpjpe: (F,) mm. away: share of frames that face more than 90 degrees
    from the truth. jitter: mean error of the joints' acceleration, mm a frame². ids: frames of each identity."""

    frames: float
    pa: Array
    mpjpe: Array
    away: float
    jitter: float
    ids: Counter[int]

    def __str__(self) -> str:
        return (
            f"frames {self.frames:.0%}, PA-MPJPE median {np.median(self.pa):.1f}, mean {self.pa.mean():.1f} mm, MPJPE "
            f"median {np.median(self.mpjpe):.1f}, mean {self.mpjpe.mean():.1f} mm, away {self.away:.0%}, jitter "
            f"{self.jitter:.1f} mm/frame², identities {dict(self.ids)}"
        )


def project(points: Array, intrinsics: Array, distortion: Array) -> Array:
    """Camera-frame points (..., 3) to pixels (..., 2), with radial and tangential distortion."""
    x, y = points[..., 0] / points[..., 2], points[..., 1] / points[..., 2]
    k1, k2, p1, p2, k3 = distortion
    square = x**2 + y**2
    radial = 1 + k1 * square + k2 * square**2 + k3 * square**3
    u = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x**2)
    v = y * radial + p1 * (square + 2 * y**2) + 2 * p2 * x * y
    pixels: Array = np.stack([u, v], -1) * intrinsics[[0, 1], [0, 1]] + intrinsics[:2, 2]
    return pixels


def direction(joints: Array) -> Array:
    """(..., 3): where the trunk of joints (..., 12, 3) faces."""
    up = joints[..., SHOULDERS, :].mean(-2) - joints[..., HIPS, :].mean(-2)
    left = joints[..., [0, 6], :].mean(-2) - joints[..., [1, 7], :].mean(-2)
    return np.cross(left, up)


def follow(tracklets: Tracklets, pixels: Array) -> tuple[Array, NDArray[np.int64]]:
    """The person's joints (T, 12, 3), NaN where there is nobody, and identities (T,), 0 for nobody."""
    joints, ids = np.full((len(pixels), 12, 3), np.nan), np.zeros(len(pixels), np.int64)
    for frame, target in zip(tracklets, pixels, strict=False):
        t, height = frame.index, np.ptp(target, axis=0).max()
        rows = np.flatnonzero(frame.time_since_seen <= 0)
        if not len(rows) or t >= len(pixels):
            continue
        found = frame.bodies.joints_2d[rows][:, JOINTS]
        distances = [np.median(np.linalg.norm(found - target[order], axis=2), 1) for order in (range(12), EXCHANGED)]
        nearest = np.min(distances, 0) / height
        best = int(nearest.argmin())
        if nearest[best] < FARTHEST:
            joints[t], ids[t] = frame.bodies.joints_3d[rows[best], JOINTS], frame.ids[rows[best]]
    return joints, ids


def measure(tracklets: Tracklets, truth: dict[str, Any], camera: int, person: int = 0) -> Accuracy:
    world = truth["joints"] if truth["joints"].ndim == 4 else truth["joints"][:, None]
    true = world[:, person] @ truth["rotation"][camera].T + truth["translation"][camera]
    joints, ids = follow(tracklets, project(true, truth["intrinsics"][camera], truth["distortion"][camera]))
    found = np.isfinite(joints).all((1, 2))
    if not found.any():
        raise SystemExit("nobody in the results is near the truth")
    centred = joints - joints[:, HIPS].mean(1, keepdims=True)
    centred_true = true - true[:, HIPS].mean(1, keepdims=True)
    smooth = gaussian_filter1d(centred_true, TRUTH_SIGMA, axis=0, mode="nearest")
    return Accuracy(
        frames=float(found.mean()),
        pa=np.asarray(pa_mpjpe(joints[found], true[found])),
        mpjpe=np.linalg.norm(centred - centred_true, axis=2).mean(1)[found] * 1000,
        away=float(((direction(joints) * direction(true)).sum(-1)[found] < 0).mean()),
        jitter=float(np.nanmean(np.linalg.norm(np.diff(centred - smooth, n=2, axis=0), axis=2).mean(1))) * 1000,
        ids=Counter(ids[ids > 0].tolist()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--camera", type=int, required=True)
    parser.add_argument("--person", type=int, default=0)
    arguments = parser.parse_args()
    with np.load(arguments.truth, allow_pickle=False) as stored:
        truth = {name: stored[name] for name in ("joints", "rotation", "translation", "intrinsics", "distortion")}
    print(measure(load_tracklets(arguments.results), truth, arguments.camera, arguments.person))


if __name__ == "__main__":
    main()
