"""Takes known files out of tar archives that may be hostile."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.budget import Budget, TooLargeError, one_line
from fourd_humans.files.streams import Stream

MAX_MEMBERS = 10_000
MAX_HEADER = 1 << 14  # bytes of one extended header: names and dates
MAX_FILE = 1 << 28  # bytes of one file that is read into memory
COPIED = 1 << 13  # bytes at a time
BAD_TAR = (
    tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, ValueError, OverflowError
)  # fmt: skip


def unpack(archive: Path, members: tuple[str, ...], folder: Path) -> None:
    """Take `members` out of a tar archive (compressed or not) and store them in `folder` under their last names.

    Nothing else is written, and no path in the archive decides where. An archive with an entry that points outside,
    or that is neither file, folder nor inner link, is refused whole.
    Raises: FourDHumansError for such an archive, a damaged one, or one that lacks a member.
    """
    missing = {PurePosixPath(member) for member in members}
    try:
        with archive.open("rb") as raw:
            stream = _Forward(Stream(raw, Budget(archive.stat().st_size)))
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for number, info in enumerate(tar):
                    if number > MAX_MEMBERS:
                        raise TooLargeError(f"it has more than {MAX_MEMBERS} entries")
                    path = PurePosixPath(info.name)
                    if ".." in path.parts or info.name.startswith("/"):
                        raise FourDHumansError(f"{archive} is refused: its entry {info.name[:80]!r} points outside")
                    tarfile.data_filter(info, str(folder))
                    if path in missing and info.isfile():
                        _copy(tar, info, folder / path.name)
                        missing.remove(path)
    except (tarfile.FilterError, TooLargeError) as error:
        raise FourDHumansError(f"{archive} is refused: {one_line(error)}") from error
    except BAD_TAR as error:
        raise FourDHumansError(f"{archive} is damaged ({one_line(error)}); download it again") from error
    if missing:
        raise FourDHumansError(f"{archive} does not hold {', '.join(sorted(map(str, missing)))}")


def read_members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a tar archive (compressed or not), one after the other.

    Folders, links and everything else that is no plain file are passed over; nothing is written.
    Raises: FourDHumansError for an archive that is missing, damaged, or holds a file larger than `MAX_FILE`.
    """
    try:
        with archive.open("rb") as raw:
            stream = _Forward(Stream(raw, Budget(archive.stat().st_size)))
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for info in tar:
                    if info.isreg() and not info.issparse():
                        if info.size > MAX_FILE:
                            raise TooLargeError(f"its {one_line(info.name, 60)} has {info.size} bytes")
                        buffer = io.BytesIO()
                        _write(tar, info, buffer)
                        yield info.name, buffer.getvalue()
                    tar.members = []  # type: ignore[attr-defined]  # or all headers are kept
    except OSError as error:
        raise FourDHumansError(f"cannot read {archive}: {error.strerror or error}") from error
    except TooLargeError as error:
        raise FourDHumansError(f"{archive} is refused: {one_line(error)}") from error
    except BAD_TAR as error:
        raise FourDHumansError(f"{archive} is damaged ({one_line(error)})") from error


def _copy(tar: tarfile.TarFile, info: tarfile.TarInfo, target: Path) -> None:
    with target.open("wb") as file:
        _write(tar, info, file)


def _write(tar: tarfile.TarFile, info: tarfile.TarInfo, file: IO[bytes]) -> None:
    source = tar.extractfile(info)
    if source is None:
        raise tarfile.ReadError(f"no contents of {info.name}")
    left = info.size
    with source:
        while part := source.read(min(COPIED, left)):
            file.write(part)
            left -= len(part)
    if left:
        raise tarfile.ReadError("unexpected end of data")


class _Forward(io.RawIOBase):
    """A stream that can skip ahead, and gives no more at once than a header of a tar archive may have."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._data, self._used, self._place = stream, b"", 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._place:
            raise tarfile.ReadError("an entry that lies before the one before it")
        while self._place < offset and self._next():
            self._take(offset - self._place)
        return self._place

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        parts = []
        while size > 0 and self._next():
            parts.append(self._take(size))
            size -= len(parts[-1])
        return b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        data = self.read(min(len(buffer), MAX_HEADER))
        buffer[: len(data)] = data
        return len(data)

    def _next(self) -> bool:
        if self._used == len(self._data):
            self._data, self._used = self._stream.read(), 0
        return bool(self._data)

    def _take(self, count: int) -> bytes:
        part = self._data[self._used : self._used + count]
        self._used += len(part)
        self._place += len(part)
        return part
