"""Pickles of arrays: SMPL's, also of chumpy's objects and from Python 2, detectron2's weights, datasets."""

from __future__ import annotations

import io
import math
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.arrays import RefusedError, array_type, build_array, bytes_of, numeric_type, shape_of
from fourd_humans.files.budget import Budget, TooLargeError, damaged
from fourd_humans.files.streams import Stream
from fourd_humans.files.unpickler import Dtype, JoblibArray, Name, NewArray, Node, Unpickler, checked_key, set_of

MAX_ELEMENTS = 1 << 24  # of an array that is made larger than what the file holds of it (sparse matrices, selections)
MAX_NESTED_OBJECTS = 8
SPARSE = re.compile(r"scipy\.sparse\.(?:_?(?P<module>cs[cr])\.)?(?P<format>cs[cr])_(?:matrix|array)")
CHUMPY = re.compile(r"chumpy(\.\w+)*\.[^\W\d]\w*")


def read_pickle(path: Path | str) -> Any:
    """What the pickle holds: containers, numbers, text, numpy arrays, and `Node` objects for chumpy's and scipy's.

    Files written by Python 2 are understood, and ``.npy`` files that hold Python objects, which are a pickle inside.
    Arrays of objects come as numpy arrays of objects.

    Raises: FourDHumansError naming the file, if it cannot be read, is damaged, asks for anything else, or would take
    more than its size justifies.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            header = file.read(10)
            start = 10 + int.from_bytes(header[8:10], "little") if header.startswith(b"\x93NUMPY\x01") else 0
            file.seek(start)
            budget = Budget(size)
            return Unpickler(Stream(file, budget, plain=True), budget, array_name).load()
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror or error}") from error
    except RefusedError as error:
        raise refusal(path, error, "a file of arrays") from error
    except TooLargeError as error:
        raise FourDHumansError(f"{path} refused: {error}") from error
    except (EOFError, ValueError) as error:
        raise damaged(path, "a pickle of arrays", error) from error


def pickle_in(data: bytes) -> Any:
    """What a pickle in memory holds; as `read_pickle`.

    Raises: RefusedError, TooLargeError, EOFError where it ends early, or ValueError for what is no pickle.
    """
    budget = Budget(len(data))
    return Unpickler(Stream(io.BytesIO(data), budget, plain=True), budget, array_name).load()


def refusal(path: object, error: RefusedError, what: str) -> FourDHumansError:
    """For a file of `what` that asked for something else."""
    name = "".join(c for c in error.name if c.isprintable())[:80]
    return FourDHumansError(f"{path} refused: it asks for '{name}', which has no place in {what}; nothing was run")


def as_array(value: Any) -> NDArray[Any]:
    """The array that `value` is or stands for: chumpy's own and its selections, scipy's sparse matrices as dense.

    Raises: ValueError saying what it is instead.
    """
    return _as_array(value, MAX_NESTED_OBJECTS)


def _as_array(value: Any, levels: int) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise ValueError("holds Python objects, not numbers")
        return value
    if not isinstance(value, Node):
        raise ValueError(f"is a {type(value).__name__}, not an array")
    if levels == 0:
        raise ValueError("is a selection of a selection, too many levels deep")
    held = value.state
    sparse = SPARSE.fullmatch(value.kind)
    try:
        if value.kind == "chumpy.ch.Ch":
            return _as_array(held["x"], levels - 1)
        if value.kind == "chumpy.reordering.Select":  # indices count through the flattened array
            indices = _integers(_as_array(held["idxs"], levels - 1))
            return _as_array(held["a"], levels - 1).ravel()[indices].reshape(shape_of(held["preferred_shape"]))
        if sparse:
            parts = [_as_array(held[name], levels - 1) for name in ("data", "indices", "indptr")]
            return _dense(parts[0], parts[1], parts[2], shape_of(held["_shape"]), sparse["format"])
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"is a broken {value.kind}") from error
    raise ValueError(f"is a {value.kind}, which is an unfinished computation and not an array")


def _dense(
    data: NDArray[Any], indices: NDArray[Any], starts: NDArray[Any], shape: tuple[int, ...], order: str
) -> NDArray[Any]:
    """The matrix of a compressed sparse one: column by column (csc) or row by row (csr)."""
    if len(shape) != 2 or math.prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"is a sparse matrix of shape {shape}")
    lines, length = shape if order == "csr" else shape[::-1]
    indices, starts = _integers(indices), _integers(starts)
    if starts.shape != (lines + 1,) or starts[0] != 0 or starts[-1] != len(data) or (np.diff(starts) < 0).any():
        raise ValueError("is a sparse matrix whose rows do not fit its data")
    if (
        indices.shape != data.shape
        or data.ndim != 1
        or (len(indices) and not 0 <= indices.min() <= indices.max() < length)
    ):
        raise ValueError("is a sparse matrix with indices out of range")
    matrix = np.zeros((lines, length), data.dtype)
    np.add.at(matrix, (np.repeat(np.arange(lines), np.diff(starts)), indices), data)
    return matrix if order == "csr" else matrix.T


def _integers(array: NDArray[Any]) -> NDArray[np.int64]:
    if array.dtype.kind not in "iu" or array.size > MAX_ELEMENTS:
        raise ValueError("has indices that are no list of whole numbers")
    return array.astype(np.int64)


def _array(shape: Any, code: Any, data: Any) -> NDArray[Any]:
    """``numpy.ndarray(shape, code, bytearray)``, the form that this package writes."""
    if isinstance(code, str) and "O" in code:  # its bytes would be addresses
        raise RefusedError("an array of made-up objects")
    return build_array(bytes_of(data), numeric_type(code), shape_of(shape))


def _dtype(code: Any, *_: Any) -> Dtype:
    return Dtype(np.dtype(object) if code in ("O", "O8", "O4") else array_type(code))


def _scalar(dtype: Any, data: Any) -> Any:
    return build_array(bytes_of(data), _type(dtype), ())[()]


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> NDArray[Any]:
    return build_array(bytes_of(data), _type(dtype), shape_of(shape), order == "F")


def _type(dtype: Any) -> np.dtype[Any]:
    if not isinstance(dtype, Dtype) or dtype.dtype.hasobject:
        raise ValueError("an array of no known type")
    return dtype.dtype


def _encode(text: Any, _: Any = "latin1") -> bytes:
    if not isinstance(text, str):
        raise ValueError("bytes that are no text")
    return text.encode("latin1")


def _bytearray(content: Any = b"", *_: Any) -> bytes:
    if isinstance(content, int):
        raise RefusedError("a bytearray of no bytes")
    return bytes(bytes_of(content))


def _ordered_dict(items: Any = ()) -> OrderedDict[Any, Any]:
    if not (isinstance(items, list | tuple) and all(isinstance(i, list | tuple) and len(i) == 2 for i in items)):
        raise ValueError("a dictionary of no pairs")
    return OrderedDict((checked_key(key), value) for key, value in items)


def _reconstruct_object(kind: Any, *_: Any) -> Node:
    if not (isinstance(kind, Name) and kind.call is not None and _is_class(kind.name)):
        raise ValueError("an object of no known kind")
    node: Node = kind.call()
    return node


def _is_class(name: str) -> bool:
    return CHUMPY.fullmatch(name) is not None or SPARSE.fullmatch(name) is not None


def _array_names() -> dict[tuple[str, str], Name]:
    names = {
        ("joblib.numpy_pickle", "NumpyArrayWrapper"): Name("joblib's array", JoblibArray),
        ("numpy", "ndarray"): Name("numpy.ndarray", _array),
        ("numpy", "dtype"): Name("numpy.dtype", _dtype),
        ("_codecs", "encode"): Name("_codecs.encode", _encode),
        ("collections", "OrderedDict"): Name("collections.OrderedDict", _ordered_dict),
        ("builtins", "bytearray"): Name("builtins.bytearray", _bytearray),
        ("__builtin__", "bytes"): Name("bytes", lambda: b""),  # Python 3 writes b"" like this for Python 2
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = Name("numpy's _reconstruct", lambda *_: NewArray())
        names[f"{core}.multiarray", "scalar"] = Name("numpy's scalar", _scalar)
        names[f"{core}.numeric", "_frombuffer"] = Name("numpy's _frombuffer", _from_buffer)
    for builtins in ("builtins", "__builtin__"):
        names[builtins, "set"] = Name("set", set_of)
        names[builtins, "object"] = Name("object")
    for registry in ("copyreg", "copy_reg"):
        names[registry, "_reconstructor"] = Name("_reconstructor", _reconstruct_object)
    return names


_ARRAY_NAMES = _array_names()


def array_name(module: str, name: str) -> Name | None:
    """What pickles of arrays name, as Python 2 and 3, old and new numpy and joblib call it; None for all else."""
    full = f"{module}.{name}"
    known = _ARRAY_NAMES.get((module, name))
    return Name(full, lambda *_: Node(full)) if known is None and name.isidentifier() and _is_class(full) else known
