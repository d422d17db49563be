"""Reads pickles of arrays from people we do not know, such as SMPL's, without running anything that is in them.

A pickle is a program: it may name any function and call it. Here it gets nothing but what `array_calls` lists, all
made afresh for each file, so that it cannot change anything that outlives it. Classes of chumpy and scipy are never
imported: a `Node` stands in for their objects and keeps what they held.
"""

from __future__ import annotations

import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from fourd_humans.errors import FourDHumansError

_SPARSE = re.compile(r"scipy\.sparse\.(?:_?(?P<module>cs[cr])\.)?(?P<format>cs[cr])_(?:matrix|array)")
_ARRAY_TYPE = re.compile(r"[<>=|]?[?a-zA-Z][0-9]{0,4}")


class Node:
    """Stands in for an object of a class that is not imported. kind: the class's full name; state: what it held."""

    kind = ""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"a {self.kind} without its fields")
        self.state = state


class Refused(pickle.UnpicklingError):
    """The file asks for something that arrays do not need. name: what."""

    def __init__(self, name: str) -> None:
        super().__init__(f"refused {name}")
        self.name = name


def read_pickle(path: Path | str) -> Any:
    """What the pickle holds: containers, numbers, text, numpy arrays, and `Node` objects for chumpy's and scipy's.

    Files written by Python 2 are understood, and ``.npy`` files that hold Python objects, which are a pickle inside.

    Raises: FourDHumansError naming the file, if it cannot be read, is damaged, or asks for anything else.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror}") from error
    try:
        return _Unpickler(data[_npy_header(data) :]).load()
    except Refused as error:
        raise FourDHumansError(
            f"{path} refused: it asks for '{error.name}', which has no place in a file of arrays; nothing was run"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise FourDHumansError(f"cannot read {path}: it is damaged or not a pickle of arrays ({reason})") from error


def _npy_header(data: bytes) -> int:
    """How many bytes numpy's file format (version 1) puts before the pickle; 0 for a bare pickle."""
    return 10 + int.from_bytes(data[8:10], "little") if data.startswith(b"\x93NUMPY\x01") else 0


def as_array(value: Any) -> NDArray[Any]:
    """The array that `value` is or stands for: chumpy's own and its selections, scipy's sparse matrices as dense.

    Raises: ValueError saying what it is instead.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise ValueError("holds Python objects, not numbers")
        return value
    if not isinstance(value, Node):
        raise ValueError(f"is a {type(value).__name__}, not an array")
    held = value.state
    sparse = _SPARSE.fullmatch(value.kind)
    try:
        if value.kind == "chumpy.ch.Ch":
            return as_array(held["x"])
        if value.kind == "chumpy.reordering.Select":  # indices count through the flattened array
            shape = tuple(int(n) for n in held["preferred_shape"])
            return as_array(held["a"]).ravel()[as_array(held["idxs"])].reshape(shape)
        if sparse:
            kind = csc_matrix if sparse["format"] == "csc" else csr_matrix
            shape = held["_shape"]
            if not (isinstance(shape, tuple) and len(shape) == 2 and max(shape) <= 100_000):
                raise ValueError(f"is a sparse matrix of shape {shape}")
            parts = [as_array(held[name]) for name in ("data", "indices", "indptr")]
            matrix = kind((parts[0], parts[1], parts[2]), shape=shape)
            matrix.check_format(full_check=True)  # indices out of range would write outside the dense matrix
            return matrix.toarray()
    except (KeyError, IndexError, TypeError, RecursionError) as error:
        raise ValueError(f"is a broken {value.kind}") from error
    raise ValueError(f"is a {value.kind}, which is an unfinished computation and not an array")


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")  # Python 2 kept the bytes of arrays in text
        self._answers = array_calls()
        self._nodes: dict[str, type[Node]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._answers:
            return self._answers[module, name]
        full = f"{module}.{name}"
        is_chumpy = module.split(".")[0] == "chumpy" and name.isidentifier()
        if is_chumpy or _SPARSE.fullmatch(full):
            if full not in self._nodes:
                self._nodes[full] = type("Node", (Node,), {"kind": full})
            return self._nodes[full]
        raise Refused(full)


def array_calls() -> dict[tuple[str, str], Callable[..., Any]]:
    """What a pickle of arrays calls, by the names that Python 2 and 3 and old and new numpy give it."""

    class NdArray:
        """Only ever an argument: the kind of array to make."""

    class Object:
        """Only ever an argument: the base of the object to make."""

    def reconstruct_array(kind: Any, shape: Any, code: Any) -> NDArray[Any]:
        return np.empty(0)  # its real shape and values follow in the file

    def from_buffer(buffer: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> NDArray[Any]:
        return np.frombuffer(buffer, dtype).reshape(shape, order="F" if order == "F" else "C")

    def scalar(dtype: np.dtype[Any], data: bytes | str) -> Any:
        raw = data.encode("latin1") if isinstance(data, str) else data
        return np.frombuffer(raw, dtype, count=1)[0]

    def dtype(code: str, align: bool = False, copy: bool = True) -> np.dtype[Any]:
        if not (isinstance(code, str) and _ARRAY_TYPE.fullmatch(code)):
            raise pickle.UnpicklingError(f"an array of type {code!r}")
        return np.dtype(code, False, True)  # a copy: its state, which follows, must not reach numpy's own

    def reconstruct_object(kind: Any, base: Any, state: Any) -> Node:
        if not (isinstance(kind, type) and issubclass(kind, Node)):
            raise pickle.UnpicklingError("an object of no known kind")
        return kind()

    def encode(text: str, encoding: str = "latin1") -> bytes:
        return text.encode("latin1")

    answers: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): NdArray,
        ("numpy", "dtype"): dtype,
        ("_codecs", "encode"): encode,
        ("collections", "OrderedDict"): OrderedDict,
    }
    for core in ("numpy.core", "numpy._core"):
        answers[f"{core}.multiarray", "_reconstruct"] = reconstruct_array
        answers[f"{core}.multiarray", "scalar"] = scalar
        answers[f"{core}.numeric", "_frombuffer"] = from_buffer
    for builtins in ("builtins", "__builtin__"):
        answers[builtins, "set"] = set
        answers[builtins, "object"] = Object
    for registry in ("copyreg", "copy_reg"):
        answers[registry, "_reconstructor"] = reconstruct_object
    return answers
