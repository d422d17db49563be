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
from fourd_humans.files.pickles import Refused
from fourd_humans.people import NUM_JOINTS
from fourd_humans.pose_features import NUM_POSE_FEATURES
from fourd_humans.results.stream import read_dict

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
    try:
        values, complete = read_dict(path)
        if not complete:
            raise ValueError("it ends early")
        return _tracklet(path, values, classes)
    except Refused as error:
        raise FourDHumansError(f"{path} refused: it asks for '{error.name}'; nothing was run") from error
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise FourDHumansError(f"{path} is not a tracklet file: {what}") from error


def _tracklet(path: Path, values: Mapping[str, Any], classes: ActionClasses | None) -> KeyTracklet:
    match = NAME.fullmatch(path.stem)
    if match is None:
        raise ValueError("its name is not DATASET_VIDEO_KEYFRAME_TRACK_LENGTH.pkl")
    fid = np.asarray(values["fid"], np.float64).reshape(-1)
    count = len(fid)
    if not 0 < count <= MAX_FRAMES or (np.diff(fid) != 1).any():
        raise ValueError("its frame counter does not go up by one")

    def column(name: str, *shape: int) -> NDArray[np.float32]:
        return np.asarray(values[name], np.float32).reshape(count, *shape)

    detected = column("has_detection") > 0
    camera = column("camera", 1, 3)
    joints = (column("3d_joints", NUM_JOINTS, 3) + camera).reshape(count, 3 * NUM_JOINTS)
    poses = column("pose_shape", NUM_POSE_FEATURES)
    detected &= np.isfinite(poses).all(1) & np.isfinite(joints).all(1)
    key = np.asarray(values["apperance_index"], np.int64).reshape(-1) if "apperance_index" in values else None
    appearance = None
    if key is not None and values.get("apperance_dict"):
        appearance = _by_key(values["apperance_dict"], key)
    labels = source = None
    if classes is not None:
        source = np.asarray(values["has_gt"], np.int64).reshape(count)
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
        height, width = (float(v) for v in np.ravel(values["frame_size"][index])[:2])
        x, y, w, h = (float(v) for v in np.ravel(values["frame_bbox"][index])[:4])
        box = (x / width, y / height, (x + w) / width, (y + h) / height)
        confidence = float(np.ravel(values["frame_conf"][index])[0])
    track = ActionTrack(int(match["track"]), int(fid[0]), poses, joints, detected, appearance, labels, source)
    return KeyTracklet(track, match["video"], int(match["key"]), index, box, confidence)


def _by_key(values: Mapping[Any, Any], keys: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n, F): for each frame the entry of its key; zeros where the key is -1."""
    rows = {int(key): np.asarray(value, np.float32).reshape(-1) for key, value in values.items()}
    width = len(next(iter(rows.values())))
    return np.stack([rows[key] if key >= 0 else np.zeros(width, np.float32) for key in keys.tolist()])
