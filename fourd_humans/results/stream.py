"""One big pickled dict, written item by item and read without trusting it.

The file is what ``joblib.load`` and, after zlib, ``pickle.load`` read. Its pickle is put together by hand: the opcodes
that make an empty dict; for each item a key and a value, pickled without memo (so that nothing refers back, and nothing
need be remembered), and the opcode that sets it; STOP. Every item ends with a zlib flush, and behind it comes an end of
the dict that the next item is written over: at any time, the file is whole.
"""

from __future__ import annotations

import io
import os
import pickle
import zlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from fourd_humans.files.arrays import RefusedError
from fourd_humans.files.budget import Budget, TooLargeError, one_line
from fourd_humans.files.pickles import array_name
from fourd_humans.files.streams import Stream
from fourd_humans.files.unpickler import Name, Unpickler

PROTOCOL = 3  # the last without frames, which could not be put together like this
COMPRESSION = 3  # zlib's level, as joblib's files of the released tracker have it
ZLIB_HEADER = b"\x78\x5e"  # deflate with a window of 32 kB, at a level of 2 to 5
BEGIN, SET_ITEM, STOP = pickle.PROTO + bytes([PROTOCOL]) + pickle.EMPTY_DICT, pickle.SETITEM, pickle.STOP


@dataclass(frozen=True)
class Place:
    """Between two items of a file that is being written: where, and zlib's checksum (Adler-32) of what lies before."""

    offset: int
    checksum: int


class DictWriter:
    """Writes a dict to `file` (binary, unbuffered) item by item; memory does not grow with their number.

    place: where to go on with a dict that another writer has begun; what follows it is dropped.
    """

    def __init__(self, file: IO[bytes], place: Place | None = None) -> None:
        self._file = file
        self._compress = zlib.compressobj(COMPRESSION, wbits=-zlib.MAX_WBITS)  # its header and checksum are ours
        self._offset, self._checksum = (place.offset, place.checksum) if place else (0, zlib.adler32(b""))
        if place is None:
            self._put(ZLIB_HEADER)
            self._offset = len(ZLIB_HEADER)
            self._write(BEGIN)
        else:
            file.truncate(place.offset)
            self._write(b"")

    def set(self, key: Hashable, value: Any) -> None:
        """Add an item. Arrays must be of numbers. Raises: OSError where it cannot be written."""
        self._write(_pickled(key) + _pickled(value) + SET_ITEM)

    def mark(self) -> Place:
        """A place that another writer can go on from, for which the file is on the disk up to here."""
        self._write(b"", zlib.Z_FULL_FLUSH)  # what comes does not refer back
        os.fsync(self._file.fileno())
        return Place(self._offset, self._checksum)

    def finish(self) -> None:
        """End the dict; the file stays open. Adding an item later takes the end back."""
        self._file.truncate(self._offset + len(self._end()))

    def _write(self, data: bytes, flush: int = zlib.Z_SYNC_FLUSH) -> None:
        """Put `data` at the end of the items, and an end of the dict behind it, in one go."""
        self._checksum = zlib.adler32(data, self._checksum)
        packed = self._compress.compress(data) + self._compress.flush(flush)
        end = self._end()
        self._file.seek(self._offset)
        self._put(packed + end)
        self._offset = self._file.tell() - len(end)

    def _end(self) -> bytes:
        compress = self._compress.copy()
        last = compress.compress(STOP) + compress.flush()
        return last + zlib.adler32(STOP, self._checksum).to_bytes(4, "big")

    def _put(self, data: bytes) -> None:
        written = 0
        while written < len(data):  # an unbuffered file may take less than all
            written += self._file.write(data[written:])


def read_items(path: Path, on_item: Callable[[Any, Any], None], budget: Budget) -> bool:
    """Call `on_item` with each key and value of the dict in a file, one after the other; memory need not hold them all.

    The file may be of `DictWriter`, joblib (plain or compressed by zlib, gzip, bz2, lzma or xz) or pickle. Only
    containers, numbers, text and numpy arrays are made. Where the file ends early, what is whole of it is read; nothing
    at all is accepted of a ``.partial``, whose run has just begun.

    Returns: whether all of it was there.
    Raises: OSError; RefusedError for a file that asks for anything else; TooLargeError; ValueError for what is no such
    file.
    """
    items = 0

    def count(key: Any, value: Any) -> None:
        nonlocal items
        items += 1
        on_item(key, value)

    with path.open("rb") as file:
        unpickler = Unpickler(Stream(file, budget), budget, _find)
        try:
            found = unpickler.load(count)
        except (RefusedError, TooLargeError):
            raise
        except (EOFError, ValueError) as error:
            begun = (
                path.suffix == ".partial" and isinstance(error, EOFError) and isinstance(unpickler.outermost(), dict)
            )
            if not (items or begun):
                raise ValueError(one_line(error)) from error
            return False
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, not a dict of frames")
    return True


def read_dict(path: Path) -> tuple[dict[Any, Any], bool]:
    """The whole dict in a file, and whether all of it was there; otherwise like `read_items`."""
    found: dict[Any, Any] = {}
    budget = Budget(path.stat().st_size)

    def keep(key: Any, value: Any) -> None:
        budget.spend(budget.item)
        found[key] = value

    return found, read_items(path, keep, budget)


def _find(module: str, name: str) -> Name | None:
    return _SCALARS[name] if module == "numpy" and name in _SCALARS else array_name(module, name)


def _scalar_of(kind: type[np.generic]) -> Callable[..., Any]:
    def scalar(value: Any = 0) -> Any:
        if not isinstance(value, int | float):
            raise ValueError("a number that is none")
        return kind(value)

    return scalar


_SCALARS = {
    kind.__name__: Name(f"numpy.{kind.__name__}", _scalar_of(kind))
    for kind in (np.float16, np.float32, np.float64, np.int32, np.int64)
}


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        """Arrays and numbers by numpy's public names only: the usual ones name modules that numpy 2 has moved."""
        if isinstance(obj, np.floating | np.integer) and type(obj).__name__ in _SCALARS:
            return type(obj), (obj.item(),)
        if type(obj) is np.ndarray:
            if obj.dtype.hasobject:
                raise pickle.PicklingError("arrays of objects cannot be written")
            return np.ndarray, (obj.shape, obj.dtype.str, bytearray(obj.tobytes()))
        return NotImplemented


def _pickled(value: Any) -> bytes:
    """The opcodes that push `value`, without the protocol before and STOP after."""
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, PROTOCOL)
    pickler.fast = True  # no memo
    pickler.dump(value)
    return buffer.getvalue()[2:-1]
