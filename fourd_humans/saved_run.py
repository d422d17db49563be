"""What is needed to go on with a run that ended early, in a file beside its partial results."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.files.state import load_state, save_state
from fourd_humans.motion.shots import SHOT_CLASSES, ShotEstimator
from fourd_humans.pipeline import STATE_CLASSES, Position, Tracking
from fourd_humans.results.store import Mark, partial_of
from fourd_humans.results.stream import Place
from fourd_humans.video.source import Source

log = logging.getLogger(__name__)

VIDEO_INTERVAL = 5.0  # seconds of video between two savings at most,
TIME_INTERVAL = 10.0  # and of time, where the video goes slowly


@dataclass(frozen=True)
class SavedRun:
    """A run as it was at one frame.

    made_with, source: what must be the same to go on. mark: the place in the result file. tracking: see
    `Tracking.state`. scene: see `ShotEstimator.state`. summary: of the frames so far.
    """

    made_with: dict[str, Any]
    source: list[Any]
    mark: Mark
    tracking: dict[str, Any]
    scene: dict[str, Any]
    summary: dict[str, Any]


CLASSES = (SavedRun, Mark, Place, *STATE_CLASSES, *SHOT_CLASSES)


class Saver:
    """Saves a run every few seconds.

    batch_size: frames that the stages take together; a run is saved between batches, so that one that goes on forms the
    same batches and computes the same numbers.
    """

    def __init__(self, results: Path, made_with: dict[str, Any], source: Source, batch_size: int) -> None:
        self._path = path_of(results)
        self._made_with, self._source, self._batch_size = made_with, describe(source), batch_size
        self._last: tuple[float, float] | None = None  # when, of the video and of the clock

    def is_due(self, position: Position | None) -> bool:
        """Whether to save after the frame at `position`."""
        if position is None or position.count % self._batch_size:
            return False
        if self._last is None:
            self._last = position.time, time.monotonic()
            return False
        return position.time - self._last[0] >= VIDEO_INTERVAL or time.monotonic() - self._last[1] >= TIME_INTERVAL

    def save(self, mark: Mark, tracking: Tracking, scene: ShotEstimator, summary: dict[str, Any]) -> None:
        """Save the run; `mark` is the place behind all frames that `tracking` has given, and `scene` has taken."""
        if tracking.position is None:
            return
        state = SavedRun(self._made_with, self._source, mark, tracking.state(), scene.state(), summary)
        try:
            save_state(self._path, state, CLASSES)
        except OSError as error:
            log.warning("cannot save the run, which goes on: %s: %s", self._path, error.strerror)
        self._last = tracking.position.time, time.monotonic()

    def remove(self) -> None:
        """There is nothing to go on with."""
        self._path.unlink(missing_ok=True)


def load(results: Path, made_with: Mapping[str, Any], source: Source, *, overwrite: bool) -> SavedRun | None:
    """The saved run of a result file, or None where it cannot be gone on with and `overwrite` allows to begin anew.

    Raises: UsageError where it had other settings or another source, or is damaged.
    """
    path = path_of(results)
    try:
        saved = load_state(path, CLASSES)
        if not isinstance(saved, SavedRun):
            raise FourDHumansError(f"{path} is damaged: it holds no run")
        if saved.source != describe(source) or _relevant(saved.made_with) != _relevant(made_with):
            raise FourDHumansError(f"{path} is of a run with other settings, weights or another source")
        if partial_size(results) < saved.mark.place.offset:
            raise FourDHumansError(f"the partial results of {results} are shorter than {path} says")
    except FourDHumansError as error:
        if overwrite:
            return None
        raise UsageError(f"{error}; use --overwrite to begin anew") from error
    return saved


def exists(results: Path) -> bool:
    """Whether there is a run to go on with."""
    return path_of(results).exists() and (partial_of(results).exists() or results.exists())


def is_unfinished(results: Path) -> bool:
    """Whether what there is of a result file may be replaced by going on: it is a run to go on with, or one that was
    killed before it was saved for the first time.
    """
    return exists(results) or not results.exists()


def path_of(results: Path) -> Path:
    """Where the run of a result file is saved."""
    return results.with_name(f"{results.name}.state")


def partial_size(results: Path) -> int:
    """Bytes of the results so far; those of a run that was stopped have their final name already."""
    partial = partial_of(results)
    return (partial if partial.exists() else results).stat().st_size


def describe(source: Source) -> list[Any]:
    """What tells a source from another one, or from the same before it was changed."""
    first = next((frame.index for frame in source), None)
    described = [str(source.path.resolve()), *source.size, source.frame_count, first]
    if source.path.is_file():
        stat = source.path.stat()
        described += [stat.st_size, stat.st_mtime_ns]
    return described


def _relevant(made_with: Mapping[str, Any]) -> dict[str, Any]:
    """Without what does not change results: the device, and how they are drawn."""
    settings = {key: value for key, value in made_with.get("settings", {}).items() if key not in ("device", "render")}
    return {**made_with, "settings": settings}
