"""People's boxes from a file instead of a detector: ground truth, or what other software has found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath, PurePosixPath

import numpy as np

from fourd_humans.detection.settings import PrecomputedSettings
from fourd_humans.errors import UsageError
from fourd_humans.files.boxes import AnnotatedBox, BoxFile, warn_of_repeated_ids
from fourd_humans.files.coco import read_coco
from fourd_humans.files.mot import read_mot
from fourd_humans.people import Detections, Float, Frame, Rejected
from fourd_humans.results import load_tracklets

log = logging.getLogger(__name__)


class PrecomputedDetections:
    """Looks each frame's people up in a file (see `read_boxes` for the kinds).

    Images are looked up by file name where the file has names, everything else by the frame's number in its source.
    The file's identities go along as `annotations`; the tracker does not use them.
    frame_count: of the video, where known: boxes of later frames are warned of.

    Raises: UsageError or FourDHumansError where the file is missing or wrong.
    """

    def __init__(self, path: Path | str, *, frame_count: int | None = None) -> None:
        self.boxes = read_boxes(path)
        self._said: set[str] = set()
        self.warn_beyond(frame_count)

    def warn_beyond(self, frame_count: int | None) -> None:
        """Say if there are boxes for frames that a video of so many frames does not have."""
        late = sorted(n for n, people in self.boxes.by_number.items() if people and n >= (frame_count or np.inf))
        if late and self.boxes.by_name is None:
            log.warning(
                "%s has boxes for %d frames after the video's end (frames %d to %d from 0, of %d); they are ignored",
                self.boxes.path, len(late), late[0], late[-1], frame_count,
            )  # fmt: skip

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """The people of each frame, in the file's order, clipped to the frame; who cannot be used is in `rejected`."""
        return [self._detections(self._people(frame), frame) for frame in frames]

    def _people(self, frame: Frame) -> list[AnnotatedBox]:
        is_image = bool(PurePath(frame.name).suffix)
        if not is_image or self.boxes.by_name is None:
            return self.boxes.by_number.get(frame.index, [])
        if frame.name not in self.boxes.by_name:
            self._say_once("names", f"{self.boxes.path} says nothing of {frame.name}, and perhaps of other images")
        return self.boxes.by_name.get(frame.name, [])

    def _detections(self, people: list[AnnotatedBox], frame: Frame) -> Detections:
        height, width = frame.size
        boxes = np.array([person.box for person in people], np.float32).reshape(-1, 4)
        clipped = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        kept, rejected = [], []
        for row, person in enumerate(people):
            reason = person.refused
            if reason is None and (clipped[row, 2:] <= clipped[row, :2]).any():
                reason = "box outside the frame or without area"
            if reason is None:
                kept.append(row)
            else:
                rejected.append(Rejected(person.box, person.score, reason))
        if (boxes[kept] != clipped[kept]).any():
            self._say_once(
                "clipped",
                f"{self.boxes.path}: boxes reach beyond the frame, first in {frame.name}; they are clipped to it",
            )
        chosen = [people[row] for row in kept]
        masks = [person.mask if person.mask and person.mask.size == frame.size else None for person in chosen]
        return Detections(
            clipped[kept],
            np.array([person.score for person in chosen], np.float32),
            masks=masks if any(masks) else None,
            keypoints=_keypoints(chosen),
            annotations=[person.annotation for person in chosen],
            rejected=rejected,
        )

    def _say_once(self, about: str, message: str) -> None:
        if about not in self._said:
            log.warning(message)
            self._said.add(about)


def build(settings: PrecomputedSettings, device: str) -> PrecomputedDetections:
    """The boxes of the file that the settings name. Raises: UsageError where they name none."""
    if settings.boxes is None:
        raise UsageError("detection.backend 'precomputed' needs a file of boxes: --boxes FILE")
    return PrecomputedDetections(settings.boxes)


def _keypoints(people: Sequence[AnnotatedBox]) -> Float | None:
    """(N, 17, 3), or None where not everybody has them."""
    keypoints = [person.keypoints for person in people if person.keypoints is not None]
    return np.stack(keypoints) if people and len(keypoints) == len(people) else None


def read_boxes(path: Path | str) -> BoxFile:
    """The boxes in a MOT text file (.txt, .csv), a COCO json (.json) or a result file (.pkl, .partial).

    Raises: UsageError where there is no such file or it is of no such kind; FourDHumansError, with the place, for what
    cannot be understood in it.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], BoxFile]] = {
        ".txt": read_mot,
        ".csv": read_mot,
        ".json": read_coco,
        ".pkl": _read_results,
        ".partial": _read_results,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"boxes are read from a MOT text file (.txt), a COCO json (.json) or a result (.pkl), not from {path}"
        )
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    boxes = reader(path)
    warn_of_repeated_ids(boxes)
    return boxes


def _read_results(path: Path) -> BoxFile:
    """Those of the people in a result file that were seen, with their identity, mask and keypoints."""
    boxes = BoxFile(path)
    for frame in load_tracklets(path):
        seen = frame.detections[frame.seen]
        people = [
            AnnotatedBox(
                tuple(seen.boxes[row].tolist()),
                float(seen.scores[row]),
                int(identity),
                None if seen.keypoints is None else seen.keypoints[row],
                None if seen.masks is None else seen.masks[row],
            )
            for row, identity in enumerate(frame.ids[frame.seen])
        ]
        boxes.by_number[frame.index] = people
        if PurePosixPath(frame.name).suffix:
            boxes.by_name = boxes.by_name if boxes.by_name is not None else {}
            boxes.by_name[PurePosixPath(frame.name).name] = people
    return boxes
