"""One big pickled dict, written item by item and read without trusting it.

The file is what ``joblib.load`` and, after zlib, ``pickle.load`` read. Its pickle is put together by hand: the opcodes
that make an empty dict; for each item a key and a value, pickled without memo (so that nothing refers back, and nothing
need be remembered), and the opcode that sets it; STOP. Every item ends with a zlib flush, so whatever part of a file
reached the disk holds all items but the last.
"""

from __future__ import annotations

import io
import pickle
import zlib
from bz2 import BZ2File
from collections.abc import Callable, Hashable
from lzma import LZMAFile
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fourd_humans.files.pickles import Refused, array_calls

PROTOCOL = 3  # the last without frames, which could not be put together like this
COMPRESSION = 3  # zlib's level, as joblib's files of the released tracker have it
CHUNK = 1 << 20
JOBLIB_ARRAY = ("joblib.numpy_pickle", "NumpyArrayWrapper")
BEGIN, SET_ITEM, STOP = pickle.PROTO + bytes([PROTOCOL]) + pickle.EMPTY_DICT, pickle.SETITEM, pickle.STOP


class DictWriter:
    """Writes a dict to `file` (binary, unbuffered) item by item; memory does not grow with their number."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._compress = zlib.compressobj(COMPRESSION)
        self._write(BEGIN)

    def set(self, key: Hashable, value: Any) -> None:
        """Add an item. Arrays must be of numbers. Raises: OSError where it cannot be written."""
        self._write(_pickled(key) + _pickled(value) + SET_ITEM)

    def finish(self) -> None:
        """End the dict; the file stays open."""
        self._file.write(self._compress.compress(STOP) + self._compress.flush())

    def _write(self, data: bytes) -> None:
        data = self._compress.compress(data) + self._compress.flush(zlib.Z_SYNC_FLUSH)
        written = 0
        while written < len(data):  # an unbuffered file may take less than all
            written += self._file.write(data[written:])


def read_dict(path: Path) -> tuple[dict[Any, Any], bool]:
    """The dict in a file of `DictWriter`, joblib (plain or compressed by zlib, gzip, bz2, lzma or xz) or pickle.

    Nothing in it is run: only containers, numbers, text and numpy arrays are made. Where the file ends early, what is
    whole of it is returned.

    Returns: the dict, and whether all of it was there.
    Raises: OSError; Refused for a file that asks for anything else; ValueError for what is no such file.
    """
    complete = True
    try:
        with path.open("rb") as raw:
            found = _FastUnpickler(_decompressed(raw)).load()
    except (OSError, Refused):
        raise
    except Exception:  # arrays between, as joblib has them, or an early end: a damaged pickle can raise anything
        with path.open("rb") as raw:
            unpickler = _Unpickler(_decompressed(raw))
            try:
                found = unpickler.load()
            except Refused:
                raise
            except Exception as error:
                found, complete = unpickler.outermost(), False
                if not found:
                    raise ValueError(" ".join(str(error).split())[:100] or type(error).__name__) from error
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, not a dict of frames")
    return found, complete


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        """Arrays by numpy's public names only: the usual ones name modules that numpy 2 has moved."""
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


class _FastUnpickler(pickle.Unpickler):
    """For files that are whole and hold nothing but a pickle."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="latin1")
        self._calls = _calls()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == JOBLIB_ARRAY:
            raise pickle.UnpicklingError("arrays lie between")
        return _find(self._calls, module, name)


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler, ten times slower: but what it has made when it fails can be had, and arrays that lie
    between can be read."""

    dispatch: ClassVar[dict[int, Any]] = pickle._Unpickler.dispatch.copy()

    def __init__(self, file: IO[bytes]) -> None:
        self._file = _Exactly(file)
        super().__init__(self._file, encoding="latin1")
        self._calls = _calls() | {JOBLIB_ARRAY: _JoblibArray}

    def find_class(self, module: str, name: str) -> Any:
        return _find(self._calls, module, name)

    def load_build(self) -> None:
        """Set an object's state, which only arrays and their types have."""
        state, made = self.stack.pop(), self.stack[-1]  # type: ignore[attr-defined]
        if isinstance(made, _JoblibArray):
            self.stack[-1] = made.read(state, self._file)  # type: ignore[attr-defined]
        elif isinstance(made, np.ndarray | np.dtype):
            made.__setstate__(state)  # type: ignore[union-attr]
        else:
            raise Refused(f"the state of a {type(made).__name__}")

    dispatch[pickle.BUILD[0]] = load_build

    def outermost(self) -> Any:
        """The first object that was begun, after `load` has failed."""
        stacks = [*getattr(self, "metastack", []), getattr(self, "stack", [])]
        return stacks[0][0] if stacks[0] else None


class _JoblibArray:
    """Stands in for joblib's note of an array whose numbers follow it in the file."""

    def read(self, state: dict[str, Any], file: _Exactly) -> Any:
        dtype, shape = state["dtype"], tuple(int(length) for length in state["shape"])
        if dtype.hasobject:
            return _Unpickler(file.file).load()
        if state.get("numpy_array_alignment_bytes") is not None:
            file.read(file.read(1)[0])
        count = int(np.prod([np.int64(length) for length in shape]))
        data = bytearray(file.read(count * dtype.itemsize))
        array = np.frombuffer(data, dtype) if data else np.zeros(0, dtype)
        return array.reshape(shape, order=state["order"])


class _Exactly:
    """Reads as much as is asked for, or raises EOFError: without that, a cut-off array would pass for a short one."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def read(self, count: int) -> bytes:
        data = self.file.read(min(count, CHUNK))  # the count may be nonsense, too large to ask for at once
        if len(data) == count:
            return data
        parts = [data]
        while (count := count - len(parts[-1])) > 0 and parts[-1]:
            parts.append(self.file.read(min(count, CHUNK)))
        if count > 0:
            raise EOFError("the file ends early")
        return b"".join(parts)

    def readline(self) -> bytes:
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the file ends early")
        return line


class _Inflated(io.RawIOBase):
    """What a zlib or gzip file holds, as far as it can be had. (The gzip module knows no zlib, and drops the end.)"""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # either header

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data and not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._file.read(CHUNK)
            try:
                data = self._inflate.decompress(packed, len(buffer))
            except zlib.error as error:
                raise EOFError(str(error)) from error
            if not packed:
                break
        buffer[: len(data)] = data
        return len(data)


def _decompressed(file: IO[bytes]) -> IO[bytes]:
    magic = file.read(6)
    file.seek(0)
    if magic.startswith((b"\x1f\x8b", b"\x78")):
        return io.BufferedReader(_Inflated(file), CHUNK)
    if magic.startswith(b"BZh"):
        return BZ2File(file)
    if magic.startswith((b"\xfd7zXZ", b"\x5d\x00")):
        return LZMAFile(file)
    if magic.startswith(b"\x04\x22\x4d\x18"):
        raise ValueError("it is compressed with lz4; write it anew with joblib.dump(..., compress=3)")
    return file


def _calls() -> dict[tuple[str, str], Callable[..., Any]]:
    """What a result file may call, made afresh for each: a pickle could change what it is given."""

    def array(shape: tuple[int, ...], dtype: str, buffer: bytearray) -> NDArray[Any]:
        """Not numpy.ndarray itself, which would take the bytes of an array of objects for their addresses."""
        kind = np.dtype(dtype)
        if kind.hasobject or not isinstance(buffer, bytearray):
            raise Refused(f"an array of type {dtype}")
        return (np.frombuffer(buffer, kind) if buffer else np.zeros(0, kind)).reshape(shape)

    def writable_bytes(*content: bytes) -> bytearray:
        if not all(isinstance(part, bytes) for part in content):  # a number would ask for so much memory
            raise Refused("a bytearray of no bytes")
        return bytearray(*content)

    def no_bytes() -> bytes:
        return b""

    calls = array_calls()
    calls["numpy", "ndarray"] = array
    calls["builtins", "bytearray"] = writable_bytes
    calls["__builtin__", "bytes"] = no_bytes  # Python 3 writes b"" like this for Python 2
    return calls


def _find(calls: dict[tuple[str, str], Callable[..., Any]], module: str, name: str) -> Any:
    if (module, name) not in calls:
        raise Refused(f"{module}.{name}")
    return calls[module, name]
