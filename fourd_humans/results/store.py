"""Result files: written frame by frame, whole whenever a run ends, and read back."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.files.pickles import Refused
from fourd_humans.people import TrackedFrame
from fourd_humans.results.phalp_format import Embed, from_entry, to_entry
from fourd_humans.results.stream import DictWriter, read_dict
from fourd_humans.tracklets import Tracklets

log = logging.getLogger(__name__)


class ResultWriter:
    """Writes tracked frames into a file in the released layout, which ``joblib.load`` reads.

    The file grows as ``NAME.pkl.partial``, frame by frame and in constant memory, and gets its name when it is closed.
    Leaving a ``with`` block closes it, whatever the reason. A run that is killed leaves the ``.partial``, which
    `load_tracklets` reads up to the last whole frame.

    path: of the file. overwrite: whether to replace one that exists, or the rest of a killed run.
    folder: what the paths of frames begin with: that of the images, where they lie in one.
    textures: also write every person's texture map, a megabyte each, if the frames bring them.
    embed: also write the embeddings that it makes of them.

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
        embed: Embed | None = None,
    ) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(f"{self.path.name}.partial")
        self._folder = PurePath(folder)
        self._textures, self._embed = textures, embed
        self._closed = True
        if not overwrite and self.path.exists():
            raise UsageError(f"{self.path} exists; use --overwrite to replace it")
        if not overwrite and self._partial.exists():
            raise UsageError(
                f"{self._partial} holds what an interrupted run did, and can be loaded; "
                "move it away, or use --overwrite to replace it"
            )
        try:
            self._file = self._partial.open("wb", buffering=0)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from error
        self._closed = False
        try:
            self._dict = DictWriter(self._file)
        except OSError as error:
            raise self._failure(error) from error

    def write(self, frame: TrackedFrame, extra: Mapping[str, Any] | None = None) -> None:
        """Add a frame. Each has an entry of its own, also where nobody is there. extra: further keys of the entry."""
        path = str(self._folder / frame.name)
        entry = to_entry(frame, path, textures=self._textures, embed=self._embed)
        try:
            self._dict.set(path, entry | dict(extra or {}))
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Finish the file and give it its name. Closing twice does nothing."""
        if self._closed:
            return
        try:
            self._dict.finish()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._partial, self.path)
            self._closed = True
        except OSError as error:
            raise self._failure(error) from error

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _failure(self, error: OSError) -> FourDHumansError:
        """Give up, but keep what has been written."""
        self._closed = True
        self._file.close()
        return FourDHumansError(
            f"cannot write {self.path}: {error.strerror}; the frames written so far are in {self._partial}"
        )


def load_tracklets(path: Path | str) -> Tracklets:
    """The tracklets in a result file: ours, the released 4DHumans and PHALP ones, and the ``.partial`` of a killed run.

    Result files are pickles, which may hold anything; nothing in them is run.

    Raises: UsageError where there is no such file; FourDHumansError for one that is no result file, or asks for
    anything but arrays, numbers and text.

    >>> tracklets = load_tracklets("outputs/walk.pkl")  # doctest: +SKIP
    >>> tracklets.person(1).bodies.joints_3d.shape  # doctest: +SKIP
    (152, 45, 3)
    """
    path = Path(path)
    try:
        entries, complete = read_dict(path)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror or error}") from error
    except Refused as error:
        raise FourDHumansError(
            f"{path} refused: it asks for '{error.name}', which has no place in a result file; nothing was run"
        ) from error
    except ValueError as error:
        raise FourDHumansError(f"{path} is no result file: {error}") from error
    if not complete:
        log.warning("%s ends early: its first %d frames are read", path, len(entries))
    frames = []
    for index, (key, entry) in enumerate(entries.items()):
        try:
            frames.append(from_entry(str(key), entry, index))
        except (AttributeError, FourDHumansError, IndexError, KeyError, TypeError, ValueError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise FourDHumansError(f"{path} is no result file: its frame '{key}' {what}") from error
    folder = str(PurePath(str(next(iter(entries), ""))).parent)
    return Tracklets(frames, folder="" if folder == "." else folder, complete=complete)
