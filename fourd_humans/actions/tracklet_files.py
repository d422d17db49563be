"""Tracklet files of the released action recognition code (LART): one person around one annotated key frame."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.actions.classes import AVA_ACTIONS, ActionClasses
from fourd_humans.actions.tracks import ActionTrack
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.files.arrays import RefusedError, number, numbers
from fourd_humans.files.budget import Budget, TooLargeError
from fourd_humans.files.pickles import refusal
from fourd_humans.people import NUM_JOINTS
from fourd_humans.pose_features import NUM_POSE_FEATURES
from fourd_humans.results.stream import read_items

NAME = re.compile(r"(?P<dataset>[^_]+)_(?P<video>.+)_(?P<key>\d{6})_(?P<track>\d+)_(?P<length>\d+)")
MAX_FRAMES = 100_000
AVA_RATE, AVA_FIRST_SECOND = 30, 900  # key frame k is second k / 30 + 900 of the film


@dataclass(frozen=True)
class KeyTracklet:
    """A tracklet around a key frame.

    track: the person, from the file's own frame counter. video: its name. key: number of the key frame.
    key_index: which frame of the track the key frame is, or None where it is not among them.
    box: (4,) xyxy of the key frame as fractions, confidence: of the detector there; both None without a key frame.
    """

    track: ActionTrack
    video: str
    key: int
    key_index: int | None
    box: tuple[float, float, float, float] | None
    confidence: float | None

    @property
    def second(self) -> int:
        """Of the film, as AVA counts."""
        return self.key // AVA_RATE + AVA_FIRST_SECOND


def tracklet_groups(folder: Path) -> dict[tuple[str, int], list[Path]]:
    """The tracklet files of a folder by video and key frame, in the order of their names.

    Raises: UsageError where it has none.
    """
    groups: dict[tuple[str, int], list[Path]] = {}
    for path in sorted(folder.rglob("*.pkl")):
        match = NAME.fullmatch(path.stem)
        if match:
            groups.setdefault((match["video"], int(match["key"])), []).append(path)
    if not groups:
        raise UsageError(
            f"{folder} has no tracklet files: their names are DATASET_VIDEO_KEYFRAME_TRACK_LENGTH.pkl, six digits for "
            "the key frame"
        )
    return groups


def read_tracklet(path: Path, classes: ActionClasses | None = None) -> KeyTracklet:
    """The tracklet in a file. Nothing in it is run.

    classes: whose labels to read, by AVA's numbers; without, none are read.
    Raises: FourDHumansError naming the file where it is no tracklet file.
    """
    values: dict[Any, Any] = {}
    try:
        if not read_items(path, values.__setitem__, Budget(path.stat().st_size)):
            raise ValueError("it ends early")
        return _tracklet(path, values, classes)
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror}") from error
    except RefusedError as error:
        raise refusal(path, error, "a tracklet file") from error
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError, TooLargeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise FourDHumansError(f"{path} is not a tracklet file: {what}") from error


def _tracklet(path: Path, values: Mapping[str, Any], classes: ActionClasses | None) -> KeyTracklet:
    match = NAME.fullmatch(path.stem)
    if match is None:
        raise ValueError("its name is not DATASET_VIDEO_KEYFRAME_TRACK_LENGTH.pkl")
    count = len(values["fid"])
    if not 0 < count <= MAX_FRAMES:
        raise ValueError(f"it has {count} frames")
    fid = numbers(values["fid"], (count,), np.float64)
    if not (np.diff(fid) == 1).all() or not np.isfinite(fid).all():
        raise ValueError("its frame counter does not go up by one")

    def column(name: str, *shape: int, dtype: Any = np.float32) -> NDArray[Any]:
        try:
            return numbers(values[name], (count, *shape), dtype)
        except ValueError as error:
            raise ValueError(f"'{name}' {error}") from error

    detected = column("has_detection") > 0
    camera = column("camera", 1, 3)
    joints = (column("3d_joints", NUM_JOINTS, 3) + camera).reshape(count, 3 * NUM_JOINTS)
    poses = column("pose_shape", NUM_POSE_FEATURES)
    detected &= np.isfinite(poses).all(1) & np.isfinite(joints).all(1)
    key = column("apperance_index", dtype=np.int64) if "apperance_index" in values else None
    appearance = None
    if key is not None and values.get("apperance_dict"):
        appearance = _by_key(values["apperance_dict"], key)
    labels = source = None
    if classes is not None:
        source = column("has_gt", dtype=np.int64)
        annotated = column("action_label_gt", AVA_ACTIONS)
        pseudo = np.zeros_like(annotated)
        if key is not None and values.get("action_label_psudo"):
            pseudo = _by_key(values["action_label_psudo"], key)
        chosen = np.where((source == 2)[:, None], annotated, np.where((source == 1)[:, None], pseudo, 0))
        labels = chosen[:, np.array(classes.numbers) - 1].astype(np.float32)
        if not np.isfinite(labels).all() or labels.min() < 0 or labels.max() > 1:
            raise ValueError("its labels are not all between 0 and 1")
    index = max((i for i, name in enumerate(values["frame_name"]) if match["key"] in str(name)), default=None)
    box = confidence = None
    if index is not None:
        height, width = numbers(values["frame_size"][index], (2,), np.float64).tolist()
        x, y, w, h = numbers(values["frame_bbox"][index], (4,), np.float64).tolist()
        if not (height > 0 and width > 0 and np.isfinite([x, y, w, h]).all()):
            raise ValueError("the key frame's size or box is not valid")
        box = (x / width, y / height, (x + w) / width, (y + h) / height)
        confidence = number(values["frame_conf"][index])
    track = ActionTrack(int(match["track"]), int(fid[0]), poses, joints, detected, appearance, labels, source)
    return KeyTracklet(track, match["video"], int(match["key"]), index, box, confidence)


def _by_key(values: Mapping[Any, Any], keys: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n, F): for each frame the entry of its key; zeros where the key is -1."""
    width = int(np.size(next(iter(values.values()))))
    rows = {int(key): numbers(value, (width,)) for key, value in values.items()}
    return np.stack([rows[key] if key >= 0 else np.zeros(width, np.float32) for key in keys.tolist()])
