"""From pictures and videos to a data set of pseudo ground truth: people, keypoints, a regressor, fits, filters, tars.

Nothing here follows people over time: every picture stands for itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from fourd_humans import stages
from fourd_humans.config import Config, apply_settings
from fourd_humans.errors import UsageError
from fourd_humans.people import Bodies, Detections, Frame, Rejected
from fourd_humans.pipeline import one_thread_in_torch
from fourd_humans.tracklets import axis_angle
from fourd_humans.training.hmr2.annotations import PersonAnnotation, coco_keypoints, from_box
from fourd_humans.training.hmr2.tars import TarWriter
from fourd_humans.training.pose_histogram import PoseHistogram
from fourd_humans.training.pseudo_gt.filters import (
    POSE_REASONS,
    FilterSettings,
    Reasons,
    judge_detections,
    judge_fits,
)
from fourd_humans.training.pseudo_gt.fitting import FitSettings
from fourd_humans.training.pseudo_gt.people import PeopleFit, PeopleFitter
from fourd_humans.video import BadFrame, Source, open_source, read_ahead
from fourd_humans.weights import require_models

BATCH_BYTES = 256 * 2**20  # of the frames of one batch together
FRAMES_AT_ONCE = 16


@dataclass(frozen=True)
class FittedFrame:
    """A picture with its people fitted.

    detections: those that were fitted, the others in `rejected`. start: the regressor's bodies. reasons: why a fit is
    not used, or None.
    """

    frame: Frame
    detections: Detections
    start: Bodies
    fits: PeopleFit
    reasons: Reasons


@dataclass
class Tally:
    """What was counted. frames: that were read; unreadable: that could not be. rejected: by reason, of all detections.

    kept: people written with pose; keypoints_only: people written without. pictures: written.
    """

    frames: int = 0
    unreadable: int = 0
    pictures: int = 0
    kept: int = 0
    keypoints_only: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


class PeopleFinder:
    """The stages of a configuration, and the fits, over the pictures of one source after another.

    rate: pictures a second taken from videos; None for all. Folders of images are always taken whole.

    Raises: UsageError where the detector gives no keypoints and no file of them is given.
    """

    def __init__(
        self,
        config: Config,
        *,
        filters: FilterSettings,
        fit: FitSettings | None = None,
        histogram: PoseHistogram | None = None,
        rate: float | None = 1.0,
    ) -> None:
        if config.detection.backend in ("vitdet", "detectron2"):
            raise UsageError(
                f"{config.detection.backend} finds no keypoints: give them with --keypoints FILE, or use another "
                "detector with --set detection.backend=movenet"
            )
        for group in ("detection", "recovery"):  # pictures that are a second apart tell nothing of one another
            if hasattr(getattr(config, group), "interpolate"):
                config = apply_settings(config, [f"{group}.interpolate=false"])
        require_models(config)
        device = stages.choose_device(config)
        self.config, self.filters, self.histogram, self.rate = config, filters, histogram, rate
        self.body_model = stages.make_body_model(config, device)
        self.detect = stages.make_detector(config, device)
        self.recover = stages.make_recovery(config, self.body_model, device)
        self.fit = PeopleFitter(self.body_model, device, fit, min_confidence=filters.min_confidence)

    def frames(self, source: Source, tally: Tally) -> Generator[FittedFrame]:
        """Every picture of the source with its people fitted."""
        size = max(1, min(FRAMES_AT_ONCE, BATCH_BYTES // max(1, 3 * source.size[0] * source.size[1])))
        frames = self._read(source, tally)
        with closing(read_ahead(iter(lambda: list(islice(frames, size)), []), 1)) as batches:
            for batch in batches:
                yield from self._fit(batch)

    def _read(self, source: Source, tally: Tally) -> Iterator[Frame]:
        for frame in sampled(source, self.rate):
            if isinstance(frame, BadFrame):
                tally.unreadable += 1
                continue
            tally.frames += 1
            yield frame if self.config.camera.use_metadata else replace(frame, focal_length=None)

    def _fit(self, frames: Sequence[Frame]) -> list[FittedFrame]:
        found = [
            without(each, judge_detections(each, frame.size, self.filters))
            for frame, each in zip(frames, self.detect(frames), strict=True)
        ]
        recovered = self.recover(frames, found)
        detections, starts = [kept for kept, _ in recovered], [bodies for _, bodies in recovered]
        with one_thread_in_torch():  # for many small operations
            fitted = self.fit(frames, detections, starts)
        return [
            FittedFrame(frame, kept, start, fits, judge_fits(fits, start, self.filters, self.histogram))
            for frame, kept, start, fits in zip(frames, detections, starts, fitted, strict=True)
        ]


def sampled(source: Source, rate: float | None) -> Iterator[Frame | BadFrame]:
    """The frames of a source; of a video the first of each `rate`-th part of a second."""
    is_video = source.path.is_file() and not source.is_image
    due = -np.inf
    for frame in source:
        if is_video and rate is not None:
            part = np.floor(frame.time * rate + 1e-6)
            if part <= due:
                continue
            due = part
        yield frame


def without(found: Detections, reasons: Reasons) -> Detections:
    """The detections without a reason against them; the others among the rejected."""
    rejected = [
        Rejected(tuple(found.boxes[row].tolist()), float(found.scores[row]), reason)
        for row, reason in enumerate(reasons)
        if reason is not None
    ]
    kept = found[[row for row, reason in enumerate(reasons) if reason is None]]
    return replace(kept, rejected=[*found.rejected, *rejected])


class DataSetWriter:
    """Writes fitted people as tars of the released layout, see `hmr2.tars`.

    keep_keypoints: also write people whose pose alone was rejected, without their pose.
    """

    def __init__(self, folder: Path, *, keep_keypoints: bool, min_confidence: float) -> None:
        self.tars = TarWriter(folder)
        self.keep_keypoints, self.min_confidence = keep_keypoints, min_confidence

    def write(self, source: str, fitted: FittedFrame, tally: Tally) -> None:
        """Add a picture if somebody in it is kept. source: what to call it."""
        tally.rejected.update(rejected.reason for rejected in fitted.detections.rejected)
        tally.rejected.update(reason for reason in fitted.reasons if reason is not None)
        people = []
        for row, reason in enumerate(fitted.reasons):
            if reason is None or (self.keep_keypoints and reason in POSE_REASONS):
                people.append(self._person(fitted, row, has_pose=reason is None))
                tally.kept += reason is None
                tally.keypoints_only += reason is not None
        if people:
            tally.pictures += 1
            self.tars.write(_key(source, fitted.frame.name), fitted.frame.image, people)

    def _person(self, fitted: FittedFrame, row: int, *, has_pose: bool) -> PersonAnnotation:
        bodies, keypoints = fitted.fits.bodies, fitted.detections.keypoints
        assert keypoints is not None
        counting = np.where(keypoints[row, :, 2:] >= self.min_confidence, keypoints[row], 0)
        rotations = np.concatenate([bodies.global_orient[row], bodies.body_pose[row]])[None]
        return from_box(
            fitted.detections.boxes[row],
            keypoints_2d=coco_keypoints(counting),
            body_pose=axis_angle(rotations)[0] if has_pose else np.zeros(72, np.float32),
            betas=bodies.betas[row] if has_pose else np.zeros(10, np.float32),
            has_body_pose=has_pose,
            has_betas=has_pose,
            reprojection_loss=float(fitted.fits.reprojection_losses[row]),
            shape_space=bodies.shape_space,
        )

    def __enter__(self) -> DataSetWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.tars.__exit__(*exception)  # type: ignore[arg-type]


def _key(source: str, frame: str) -> str:
    """Of letters, digits, - and _ alone."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", f"{source}_{frame.rpartition('.')[0] or frame}").lstrip("_-") or "picture"


def fit_data_set(
    sources: Iterable[tuple[str, Path]],
    output: Path,
    finder: PeopleFinder,
    *,
    keep_keypoints: bool = False,
    on_frame: Callable[[FittedFrame], None] = lambda fitted: None,
    stop: Callable[[], bool] = lambda: False,
) -> Tally:
    """Fit everybody in the sources, (name, path) each, and write ``OUTPUT/000000.tar``, ….

    on_frame: called with each picture. stop: asked before each picture; True ends early, with whole tars.
    Raises: UsageError where `output` holds tars, or a source cannot be read.
    """
    tally = Tally()
    least = finder.filters.min_confidence
    with DataSetWriter(output, keep_keypoints=keep_keypoints, min_confidence=least) as writer:
        for name, path in sources:
            with closing(finder.frames(open_source(path), tally)) as frames:
                for fitted in frames:
                    writer.write(name, fitted, tally)
                    on_frame(fitted)
                    if stop():
                        return tally
    return tally
