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
MAX_TEXT = 4096  # characters of a text in an array

_DTYPE = re.compile(r"[<>=|]?([?a-zA-Z][0-9]{0,2})")
_TEXT = re.compile(r"[<>=|]?[US](?P<length>\d{1,6})")


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
        and all(isinstance(n, int | np.integer) and not isinstance(n, bool) and 0 <= n < 1 << 48 for n in value)
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


def array_type(code: Any) -> np.dtype[Any]:
    """The numeric type, or that of text of a fixed length such as '<U12'. Raises: ValueError for every other."""
    text = _TEXT.fullmatch(code) if isinstance(code, str) else None
    if text is None:
        return numeric_type(code)
    if not 1 <= int(text["length"]) <= MAX_TEXT:
        raise ValueError(f"an array of texts of {text['length']} characters")
    return np.dtype(code)


def build_array(data: Any, dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool = False) -> NDArray[Any]:
    """A writable array with its bytes taken from `data`, of a type that `array_type` gives.

    Raises: ValueError where the length is wrong.
    """
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} with {len(data)} bytes")
    if not len(data):
        return np.zeros(shape, dtype)
    if dtype.kind == "U":
        points = np.frombuffer(data, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if (points > 0x10FFFF).any() or ((points >= 0xD800) & (points < 0xE000)).any():
            raise ValueError("an array of text that is none")
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


def numbers(value: Any, shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """An array of this shape and type from what a file has for it: an array, lists of numbers, or a number.

    Raises: ValueError for anything else, or another number of numbers.
    """
    if type(value) is np.ndarray and value.dtype == dtype and value.shape == shape:
        return value
    count = math.prod(shape)
    if type(value) is not np.ndarray:
        value = np.array(_flat(value, count, len(shape) + 1), np.float64)
    if value.dtype.kind not in "fiub" or value.size != count:
        raise ValueError(f"is no array of {count} numbers")
    return value.reshape(shape).astype(dtype, copy=False)


def _flat(value: Any, count: int, levels: int) -> list[Any]:
    """The numbers in nested lists, in their order; no more than `count` and one."""
    if isinstance(value, int | float | np.number | np.bool_):
        return [value]
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.size <= count:
        return value.ravel().tolist()
    if not isinstance(value, list | tuple) or levels == 0 or len(value) > count:
        raise ValueError(f"is no array of {count} numbers")
    found: list[Any] = []
    for item in value:
        found += _flat(item, count, levels - 1)
        if len(found) > count:
            break
    return found


def whole_numbers(value: Any) -> NDArray[np.int64]:
    """(N,) from an array or a list of whole numbers. Raises: ValueError for anything else."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "iu" or value.ndim != 1:
            raise ValueError("is no list of whole numbers")
        value = value.tolist()
    if not isinstance(value, list | tuple) or not all(
        isinstance(n, int | np.integer) and not isinstance(n, bool) and abs(int(n)) < 1 << 53 for n in value
    ):
        raise ValueError("is no list of whole numbers")
    return np.array(value, np.int64)


def number(value: Any) -> float:
    """A finite number. Raises: ValueError for anything else."""
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "fiu":
        value = value.item()
    if not isinstance(value, int | float | np.integer | np.floating) or not -1e300 < value < 1e300:
        raise ValueError("is no number")
    return float(value)


def plain(value: Any, levels: int = 8, items: int = 1000) -> Any:
    """`value` where it is numbers, text and not too much of them in lists and dictionaries; numpy's as Python's.

    Raises: ValueError for anything else.
    """
    return _plain(value, levels, [items])


def _plain(value: Any, levels: int, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0 or levels < 0:
        raise ValueError("holds too much")
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.size <= left[0]):
        value = value.tolist()
    if isinstance(value, dict):
        return {_plain(key, 0, left): _plain(item, levels - 1, left) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, levels - 1, left) for item in value]
    if isinstance(value, tuple):
        return tuple(_plain(item, levels - 1, left) for item in value)
    if value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 1 << 16):
        return value
    raise ValueError(f"holds a {type(value).__name__}")
