"""Numeric arrays from bytes: numpy is never given more than a plain type, a shape and as many bytes as they take."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMERIC = {
    code: np.dtype(code)
    for code in ("?", "b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}  # fmt: skip
MAX_DIMENSIONS = 8

_DTYPE = re.compile(r"[<>=|]?([?a-zA-Z][0-9]{0,2})")


class RefusedError(ValueError):
    """The file asks for something that has no place in it. name: what."""

    def __init__(self, name: str) -> None:
        super().__init__(f"refused {name}")
        self.name = name


def shape_of(value: Any) -> tuple[int, ...]:
    """Lengths of an array's dimensions, as the file has them. Raises: ValueError for what is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = (value,)
    if not (
        isinstance(value, tuple | list)
        and len(value) <= MAX_DIMENSIONS
        and all(isinstance(n, int | np.integer) and 0 <= n < 1 << 48 for n in value)
    ):
        raise ValueError("an array without a shape")
    return tuple(int(n) for n in value)


def numeric_type(code: Any) -> np.dtype[Any]:
    """The plain numeric type of numpy's code for it, such as '<f4'. Raises: ValueError for every other."""
    match = _DTYPE.fullmatch(code) if isinstance(code, str) else None
    if match is None or match[1] not in NUMERIC:
        raise ValueError(f"an array of type {code[:20]!r}" if isinstance(code, str) else "an array of no type")
    dtype = NUMERIC[match[1]]
    return dtype.newbyteorder(code[0]) if code[0] in "<>" else dtype


def build_array(data: Any, dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool = False) -> NDArray[Any]:
    """A writable array of numbers with its bytes taken from `data`. Raises: ValueError where the length is wrong."""
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} with {len(data)} bytes")
    if not len(data):
        return np.zeros(shape, dtype)
    if dtype.kind == "b":  # numpy counts on truth values that are 0 or 1
        flat: NDArray[Any] = np.frombuffer(data, np.uint8) != 0
    else:
        flat = np.frombuffer(bytearray(data), dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def bytes_of(data: Any) -> bytes | bytearray:
    """Python 2 kept the bytes of arrays in text, and Python 3 keeps them so in the old protocols."""
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise ValueError("an array without its bytes")
    return data
