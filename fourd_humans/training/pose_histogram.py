"""Which poses people take: a histogram of every joint's rotations over motion capture (supplement, S.1).

The released one counts AMASS; `count_poses` makes one of the same layout from any such files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from fourd_humans.body.joints import SMPL_NAMES
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.files.npz import read_npy, read_npz

NUM_JOINTS = 21  # SMPL's joints but for the root and the hands
BINS = 100
SIGMA = 2.0  # bins, of the smoothing
_TINY = 1e-6  # keeps an angle of exactly π in the last bin
ROWS_AT_ONCE = 1 << 16

# The least density of a probable rotation; as released.
_THRESHOLDS = {
    "hip": 5e-5, "spine1": 2e-3, "knee": 5e-6, "spine2": 0.01, "ankle": 5e-6, "spine3": 0.025, "foot": 0.0,
    "neck": 2e-4, "collar": 4.5e-4, "head": 5e-4, "shoulder": 2e-4, "elbow": 4e-5, "wrist": 1e-3,
}  # fmt: skip
THRESHOLDS = np.array(
    [_THRESHOLDS[name.removeprefix("left_").removeprefix("right_")] for name in SMPL_NAMES[1 : NUM_JOINTS + 1]]
)


@dataclass(frozen=True)
class PoseHistogram:
    """density: (21, B, B, B) of each joint's rotation vector over (−π, π)³, all joints together summing to one."""

    density: NDArray[np.float32]

    @staticmethod
    def of_counts(counts: NDArray[np.number]) -> PoseHistogram:
        """counts: (21, B, B, B), see `count_poses`. They are normalised over all joints together, and smoothed.

        As released, the smoothing goes along all four axes, that of the joints too: a joint's density holds some of its
        neighbours' in the list. `THRESHOLDS` belong to that.
        """
        volume = (2 * np.pi / counts.shape[1]) ** 3
        scale = 1 / (max(float(counts.sum(dtype=np.float64)), 1.0) * volume)
        return PoseHistogram(gaussian_filter(counts.astype(np.float32), SIGMA, mode="constant") * np.float32(scale))

    def joint_density(self, body_pose: NDArray[np.floating]) -> NDArray[np.float32]:
        """(N, 21) from axis-angle (N, 69), or (N, 63) without the hands. A vector outside the histogram has 0."""
        bins = self.density.shape[1]
        indices = _bins(body_pose, bins)
        inside = ((indices >= 0) & (indices < bins)).all(2)
        x, y, z = np.moveaxis(np.where(inside[..., None], indices, 0), 2, 0)
        return np.where(inside, self.density[np.arange(NUM_JOINTS), x, y, z], 0)

    def is_probable(self, body_pose: NDArray[np.floating]) -> NDArray[np.bool_]:
        """(N,) whether every joint's rotation is denser than its threshold."""
        probable: NDArray[np.bool_] = np.all(self.joint_density(body_pose) > THRESHOLDS, axis=1)
        return probable


def count_poses(body_poses: Iterable[NDArray[np.floating]], bins: int = BINS) -> NDArray[np.uint32]:
    """(21, B, B, B) how often a joint's rotation vector fell into each bin. body_poses: axis-angle (N, 63+)."""
    counts = np.zeros(NUM_JOINTS * bins**3, np.uint32)
    first = np.arange(NUM_JOINTS) * bins**3
    for poses in body_poses:
        for start in range(0, len(poses), ROWS_AT_ONCE):
            x, y, z = np.moveaxis(_bins(poses[start : start + ROWS_AT_ONCE], bins), 2, 0)
            flat, number = np.unique(first + (x * bins + y) * bins + z, return_counts=True)
            counts[flat] += number.astype(np.uint32)
    return counts.reshape(NUM_JOINTS, bins, bins, bins)


def _bins(body_pose: NDArray[np.floating], bins: int) -> NDArray[np.int64]:
    """(N, 21, 3) the bins of rotation vectors, their angles brought to 0..π."""
    vectors = np.asarray(body_pose, np.float64)[:, : 3 * NUM_JOINTS].reshape(-1, 3)
    short = Rotation.from_rotvec(vectors).as_rotvec().reshape(-1, NUM_JOINTS, 3)
    return np.floor((short + np.pi) / (2 * np.pi) * (bins - _TINY)).astype(np.int64)


def read_pose_histogram(path: Path | str) -> PoseHistogram:
    """From a ``.npy`` of counts (21, B, B, B): the released ``amass_poses_hist100_SMPL+H_G.npy``, or one of our own.

    Raises: FourDHumansError naming the file.
    """
    counts = read_npy(path)
    bins = counts.shape[-1] if counts.ndim else 0
    if counts.shape != (NUM_JOINTS, bins, bins, bins) or bins < 2 or counts.dtype.kind not in "fiu":
        raise FourDHumansError(f"{path} is no histogram of poses: its array is {counts.shape}, not (21, B, B, B)")
    if not np.isfinite(counts).all() or (counts < 0).any() or not counts.any():
        raise FourDHumansError(f"{path} is no histogram of poses: its counts are negative, not finite, or all zero")
    return PoseHistogram.of_counts(counts)


def read_poses(path: Path) -> NDArray[np.float64]:
    """(N, 63) the body's joints in an npz of motion capture, axis-angle.

    AMASS's ``poses`` (N, 66 or more, the root first) or ``pose_body`` (N, 63), or ``body_pose`` of the released
    training data (N, 72 with the root, or N, 69).
    Raises: FourDHumansError naming the file.
    """
    arrays = read_npz(path, ("poses", "pose_body", "body_pose"))
    for name in ("poses", "pose_body", "body_pose"):
        values = arrays.get(name)
        if values is None:
            continue
        width = values.shape[1] if values.ndim == 2 else 0
        starts = 3 if name == "poses" or width == 72 else 0
        if width < starts + 3 * NUM_JOINTS or values.dtype.kind != "f" or not np.isfinite(values).all():
            raise FourDHumansError(f"{path}: its {name} {values.shape} is no array of poses")
        return values[:, starts : starts + 3 * NUM_JOINTS].astype(np.float64)
    raise FourDHumansError(f"{path} has none of poses, pose_body and body_pose")


def motion_capture_files(paths: Iterable[Path]) -> list[Path]:
    """The npz files among `paths` and in folders among them; AMASS's ``shape.npz``, which hold no poses, left out.

    Raises: UsageError where there is none.
    """
    found = [file for path in paths for file in (sorted(path.rglob("*.npz")) if path.is_dir() else [path])]
    found = [file for file in found if file.name != "shape.npz"]
    if not found:
        raise UsageError("there are no .npz files of motion capture to count")
    return found
