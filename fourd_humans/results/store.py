"""Result files: written frame by frame, whole whenever a run ends, and read back."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.files.arrays import RefusedError, plain
from fourd_humans.files.budget import Budget, TooLargeError, one_line
from fourd_humans.files.pickles import refusal
from fourd_humans.people import Shot, TrackedFrame
from fourd_humans.results.phalp_format import RELEASED_RATE, from_entry, to_entry
from fourd_humans.results.shots import from_plain, to_plain
from fourd_humans.results.stream import DictWriter, Place, read_items
from fourd_humans.tracklets import Tracklets

log = logging.getLogger(__name__)

MADE_WITH = "made_with"  # the key of what a result was made with, in its first entry
SHOTS = "shots"  # the key of what is known of the shots, in its last entry
END = "end"  # the key of how the run ended, in its last entry
FRAME_MEMORY, PERSON_MEMORY = 1000, 6000  # bytes that a loaded frame takes, and each person in it


@dataclass(frozen=True)
class Mark:
    """A place in a result file that is being written, and how many frames lie before it."""

    place: Place
    frames: int


def partial_of(path: Path) -> Path:
    """Where a result file grows until it is closed."""
    return path.with_name(f"{path.name}.partial")


class ResultWriter:
    """Writes tracked frames into a file in the released layout, which ``joblib.load`` reads.

    The file grows as ``NAME.pkl.partial``, frame by frame and in constant memory, and gets its name when it is closed.
    Leaving a ``with`` block closes it; by an error, or where the run is killed, the ``.partial`` stays, which is a
    whole file of the frames so far. Interrupted by Ctrl-C it is closed, but not marked complete.

    path: of the file. overwrite: whether to replace one that exists, or the rest of an earlier run.
    folder: what the paths of frames begin with: that of the images, where they lie in one.
    textures: also write every person's texture map, a megabyte each, if the frames bring them.
    made_with: what the frames are made with, of plain numbers and text (see docs/results.md).
    resume: the `mark` of an earlier writer, to go on with its file from there; what it wrote later is dropped.

    Raises: UsageError where the file exists or cannot be made; FourDHumansError where writing fails (a full disk).

    >>> with ResultWriter("walk.pkl") as results:  # doctest: +SKIP
    ...     for frame in Pipeline().run("walk.mp4"):
    ...         results.write(frame)
    """

    def __init__(
        self,
        path: Path | str,
        *,
        overwrite: bool = False,
        folder: Path | str = "",
        textures: bool = False,
        made_with: Mapping[str, Any] | None = None,
        resume: Mark | None = None,
    ) -> None:
        self.path = Path(path)
        self._partial = partial_of(self.path)
        self._folder = PurePath(folder)
        self._textures = textures
        self._made_with = dict(made_with or {})
        self._frames = resume.frames if resume else 0
        self._last: tuple[str, dict[str, Any]] | None = None
        self._closed = True
        if self.path.is_dir():
            raise UsageError(f"cannot write {self.path}: it is a folder")
        if resume is None and not overwrite:
            self._check_free()
        try:
            if resume is None:
                self._file = self._partial.open("wb", buffering=0)
            else:
                if not self._partial.exists():  # it had been closed before its end
                    os.replace(self.path, self._partial)
                self._file = self._partial.open("r+b", buffering=0)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from error
        self._closed = False
        try:
            self._dict = DictWriter(self._file, resume.place if resume else None)
        except OSError as error:
            raise self._failure(error) from error

    def write(self, frame: TrackedFrame, extra: Mapping[str, Any] | None = None) -> None:
        """Add a frame. Each has an entry of its own, also where nobody is there. extra: further keys of the entry."""
        path = str(self._folder / frame.name)
        entry = to_entry(frame, path, textures=self._textures)
        entry |= dict(extra or {})
        if not self._frames:
            entry[MADE_WITH] = self._made_with
        self._set(path, entry)
        self._frames += 1
        self._last = path, entry

    def mark(self) -> Mark:
        """A place that another writer can go on from, with what was written before it safely on the disk."""
        try:
            return Mark(self._dict.mark(), self._frames)
        except OSError as error:
            raise self._failure(error) from error

    def close(self, *, complete: bool = True, reason: str | None = None, shots: Sequence[Shot] = ()) -> None:
        """Finish the file and give it its name. Closing twice does nothing.

        complete: whether all frames that were wanted are there. reason: why not. shots: what is known of the scene.
        """
        if self._closed:
            return
        try:
            self._finish(complete, reason, shots)
            os.replace(self._partial, self.path)
        except OSError as error:
            raise self._failure(error) from error

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif isinstance(error, KeyboardInterrupt):
            self.close(complete=False, reason="stopped")
        elif not self._closed:
            self._keep_partial(error)

    def _check_free(self) -> None:
        if self.path.exists():
            raise UsageError(f"{self.path} exists; use --overwrite to replace it")
        if self._partial.exists():
            raise UsageError(
                f"{self._partial} holds what an interrupted run did, and can be loaded; use --resume to go on with it, "
                "or --overwrite to replace it"
            )

    def _keep_partial(self, error: BaseException) -> None:
        """After an error: keep what was written, but not under the name of a result."""
        try:
            self._finish(False, one_line(error))
        except OSError:
            self._closed = True
            self._file.close()
        if self._frames:
            log.warning("the run ended with an error; the %d frames before it are in %s", self._frames, self._partial)
        else:
            self._partial.unlink(missing_ok=True)

    def _set(self, path: str, entry: dict[str, Any]) -> None:
        try:
            self._dict.set(path, entry)
        except OSError as error:
            raise self._failure(error) from error

    def _finish(self, complete: bool, reason: str | None, shots: Sequence[Shot] = ()) -> None:
        """Set the last entry once more, with how the run ended and what is known of the shots."""
        if self._last is None and self._frames:  # all were written before this writer went on
            read_items(self._partial, self._keep_last, Budget(self._partial.stat().st_size))
        if self._last is not None:
            path, entry = self._last
            end = {"complete": complete, "reason": reason, "frames": self._frames}
            known = {SHOTS: to_plain(shots)} if shots else {}
            self._dict.set(path, entry | known | {END: end})
        self._dict.finish()
        os.fsync(self._file.fileno())
        self._file.close()
        self._closed = True

    def _keep_last(self, path: Any, entry: Any) -> None:
        self._last = path, entry

    def _failure(self, error: OSError) -> FourDHumansError:
        """Give up, but keep what has been written."""
        self._closed = True
        self._file.close()
        return FourDHumansError(
            f"cannot write {self.path}: {error.strerror}; the frames written so far are in {self._partial}"
        )


def load_tracklets(path: Path | str, frame_rate: float | None = None) -> Tracklets:
    """The tracklets in a result file: ours, the released 4DHumans and PHALP ones, and the ``.partial`` of an ended run.

    Result files are pickles, which may hold anything; nothing in them is run.

    frame_rate: frames a second of a file without times, as the released code writes them; by default 30, the rate of
    the videos that it writes.

    Raises: UsageError where there is no such file; FourDHumansError for one that is no result file, asks for anything
    but arrays, numbers and text, or would take far more memory or time than its size justifies.

    >>> tracklets = load_tracklets("outputs/walk.pkl")  # doctest: +SKIP
    >>> tracklets.person(1).bodies.joints_3d.shape  # doctest: +SKIP
    (152, 45, 3)
    """
    path = Path(path)
    reader = _Reader(path, frame_rate)
    try:
        whole = read_items(path, reader.add, reader.budget)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror or error}") from error
    except RefusedError as error:
        raise refusal(path, error, "a result file") from error
    except TooLargeError as error:
        raise FourDHumansError(f"{path} refused: {error}") from error
    except ValueError as error:
        raise FourDHumansError(f"{path} is no result file: {one_line(error)}") from error
    return reader.tracklets(whole)


def load_frames(path: Path, *, after: float | None) -> list[TrackedFrame]:
    """The frames of a result file of ours that come after a time, in seconds of the source; None for all of them."""
    frames: list[TrackedFrame] = []
    read_frames(path, frames.append, after=after)
    return frames


def read_frames(path: Path, take: Callable[[TrackedFrame], None], *, after: float | None = None) -> None:
    """Call `take` with each of these frames, one after the other, so that memory does not grow with their number."""
    count = 0

    def add(key: Any, entry: Any) -> None:
        nonlocal count
        if after is None or entry["seconds"] > after:
            take(from_entry(str(key), entry, count, RELEASED_RATE))
            count += 1

    read_items(path, add, Budget(path.stat().st_size))


class _Reader:
    """Turns the entries of a file into frames, one after the other."""

    def __init__(self, path: Path, frame_rate: float | None) -> None:
        self.path, self.frame_rate = path, frame_rate
        self.budget = Budget(path.stat().st_size if path.is_file() else 0)
        self.frames: dict[str, TrackedFrame] = {}
        self.made_with: dict[str, Any] = {}
        self.end: dict[str, Any] = {}
        self.shots: list[Shot] = []
        self.has_times, self.says_end = True, False

    def add(self, key: Any, entry: Any) -> None:
        name = one_line(str(key) if isinstance(key, str | int) else type(key).__name__, 80)
        try:
            if not isinstance(entry, dict):
                raise ValueError(f"is a {type(entry).__name__}")
            frame = from_entry(str(key), entry, len(self.frames), self.frame_rate or RELEASED_RATE)
            made_with, self.end = plain(entry.get(MADE_WITH, {})), plain(entry.get(END, {}))
            self.shots = from_plain(entry.get(SHOTS, []))
        except TooLargeError:
            raise
        except (FourDHumansError, KeyError, ValueError) as error:
            what = f"lacks {one_line(error)}" if isinstance(error, KeyError) else one_line(error)
            raise FourDHumansError(f"{self.path} is no result file: its frame '{name}' {what}") from error
        if isinstance(made_with, dict) and made_with:
            self.made_with = made_with
        self.says_end = self.says_end or MADE_WITH in entry
        self.has_times = self.has_times and "seconds" in entry
        self.budget.spend(FRAME_MEMORY + PERSON_MEMORY * len(frame))
        if frame.bodies.texture is not None:
            self.budget.spend(frame.bodies.texture.nbytes)
        self.frames[str(key)] = frame

    def tracklets(self, whole: bool) -> Tracklets:
        """whole: the file does not end early."""
        if not whole:
            log.warning("%s ends early: its first %d frames are read", self.path, len(self.frames))
        if not self.has_times and self.frame_rate is None:
            log.warning("%s has no times: %g frames a second are assumed", self.path, RELEASED_RATE)
        end = self.end if isinstance(self.end, dict) else {}
        reason = end.get("reason")
        folder = str(PurePath(next(iter(self.frames), "")).parent)
        return Tracklets(
            list(self.frames.values()),
            folder="" if folder == "." else folder,
            complete=whole and end.get("complete", not self.says_end) is True,
            made_with=self.made_with,
            shots=self.shots,
            reason=reason if isinstance(reason, str) else None,
        )
