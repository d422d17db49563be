"""Arrays in numpy's own files, ``.npy`` and ``.npz``: numbers and text only, and never more than the size justifies."""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.files.arrays import array_type, build_array, shape_of
from fourd_humans.files.budget import Budget, TooLargeError, damaged, one_line
from fourd_humans.files.pickles import read_pickle

MAX_MEMBERS = 10_000
CHUNK = 1 << 18
_HEADER = re.compile(
    r"\s*\{\s*'descr':\s*'(?P<type>[^']{2,12})',\s*'fortran_order':\s*(?P<fortran>True|False),"
    r"\s*'shape':\s*\((?P<shape>[\d\sL,]{0,200})\),?\s*\}\s*"
)


def read_npy(path: Path | str, *, objects: bool = False) -> NDArray[Any]:
    """The array of numbers or text in a ``.npy`` file.

    objects: also an array of objects, of what `read_pickle` knows.
    Raises: FourDHumansError naming the file, if it is missing, damaged or holds anything else.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if objects and b"'descr': '|O'" in file.read(128):
                array = read_pickle(path)
                if not isinstance(array, np.ndarray):
                    raise ValueError("it holds no array")
                return array
            file.seek(0)
            return _array(file, size, Budget(size))
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise damaged(path, "an array", error) from error


def read_npz(path: Path | str, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of a ``.npz`` file by name: those of `names` that it has, or all.

    Raises: UsageError where there is no such file; FourDHumansError naming the file, and the array, if one is damaged,
    or holds anything but numbers and text.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    return _read_archive(path, path.stat().st_size, names, path)


def npz_in(data: bytes, name: object, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays in the bytes of a ``.npz`` file, which messages call `name`; otherwise like `read_npz`."""
    return _read_archive(io.BytesIO(data), len(data), names, name)


def _read_archive(
    file: Path | IO[bytes], size: int, names: Collection[str] | None, path: object
) -> dict[str, NDArray[Any]]:
    """path: what messages call the file."""
    budget = Budget(size)
    arrays = {}
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise TooLargeError(f"it has {len(members)} members")
            for member in members:
                name = member.filename.removesuffix(".npy")
                if names is None or name in names:
                    arrays[name] = _member(archive, member, budget, path)
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror or error}") from error
    except BAD_ZIP as error:
        raise damaged(path, "an archive of arrays", error) from error
    return arrays


BAD_ZIP = (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, LookupError, OverflowError)
"""What zipfile raises for damaged archives, beside OSError."""


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, budget: Budget, path: object) -> NDArray[Any]:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FourDHumansError(f"cannot read {path}: its {_shown(member)} is compressed in an unusual way")
    try:
        with archive.open(member) as file:
            return _array(file, member.file_size, budget)
    except (*BAD_ZIP, EOFError, zlib.error) as error:
        if isinstance(error, TooLargeError):
            raise
        raise damaged(path, f"an archive of arrays: its {_shown(member)} is no plain array", error) from error


def _shown(member: zipfile.ZipInfo) -> str:
    return one_line(member.filename.removesuffix(".npy"), 60)


def _array(file: IO[bytes], size: int, budget: Budget) -> NDArray[Any]:
    """size: of the file, of which the header tells another. Raises: ValueError, TooLargeError."""
    magic = file.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:7] not in (b"\x01", b"\x02", b"\x03"):
        raise ValueError("it does not begin as arrays do")
    length = int.from_bytes(file.read(2 if magic[6] == 1 else 4), "little")
    header = _HEADER.fullmatch(file.read(min(length, 4096)).decode("latin1"))
    if header is None or length > 4096:
        raise ValueError("it is no array of plain numbers or text")
    shape = shape_of(tuple(int(n.strip(" L")[:20]) for n in header["shape"].split(",") if n.strip()))
    dtype = array_type(header["type"])
    count = math.prod(shape) * dtype.itemsize
    if count > size:
        raise ValueError(f"an array of shape {shape} in {size} bytes")
    data = bytearray()
    while len(data) < count:
        part = file.read(min(CHUNK, count - len(data)))
        if not part:
            raise ValueError("it ends early")
        budget.unpack(len(part))
        budget.spend(2 * len(part))
        data += part
    return build_array(data, dtype, shape, header["fortran"] == "True")
