"""The state of a computation in a file: our own dataclasses with arrays in them, read back without trusting the file.

A file is one of safetensors: the arrays, and the rest as json in its metadata. What it may hold is containers, numbers,
text, arrays, and objects of the classes that the reader allows. An object or array that several others hold is
written once and shared again by those who read it.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fourd_humans.errors import FourDHumansError

KEY = "state"  # of the json in the metadata
MAX_OBJECTS = 10_000_000


def save_state(path: Path, state: Any, classes: Sequence[type]) -> None:
    """Write `state`, whose dataclasses and enums are among `classes`; atomic: the file is the old one or the new one.

    Raises: TypeError for anything else in it; OSError where it cannot be written.
    """
    encoder = _Encoder(classes)
    root = encoder.value(state)
    text = json.dumps({"objects": encoder.objects, "root": root})
    arrays = {str(number): np.asarray(array, order="C") for number, array in enumerate(encoder.arrays)}
    unfinished = path.with_name(f"{path.name}.unfinished")
    with unfinished.open("wb") as file:
        file.write(save(arrays, metadata={KEY: text}))
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def load_state(path: Path, classes: Sequence[type]) -> Any:
    """What `save_state` wrote.

    Raises: FourDHumansError naming the file where it is damaged, or holds objects of other classes.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            document = json.loads((file.metadata() or {})[KEY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
        decoder = _Decoder(classes, arrays)
        if len(document["objects"]) > MAX_OBJECTS:
            raise ValueError("it holds too many objects")
        for item in document["objects"]:
            decoder.objects.append(decoder.object(item))
        return decoder.value(document["root"])
    except (SafetensorError, AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise FourDHumansError(f"{path} is damaged: {reason}") from error
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror or error}") from error


class _Encoder:
    """Values as json: plain ones as they are, all others as a list of their kind and what they hold."""

    def __init__(self, classes: Sequence[type]) -> None:
        self._classes = set(classes)
        self.objects: list[Any] = []
        self.arrays: list[NDArray[Any]] = []
        self._numbers: dict[int, tuple[int, Any]] = {}  # by id, with the object, so that the id stays its own

    def value(self, value: Any) -> Any:
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, Enum):
            return ["enum", self._name(value), value.value]
        if is_dataclass(value) and not isinstance(value, type):
            return ["object", self._once(value, self._object)]
        if isinstance(value, np.ndarray | np.generic):
            if value.dtype.kind not in "biuf":
                raise TypeError(f"an array of {value.dtype} cannot be written")
            kind = "array" if isinstance(value, np.ndarray) else "scalar"
            return [kind, self._once(value, self._array)]
        if isinstance(value, deque):
            return ["deque", value.maxlen, [self.value(item) for item in value]]
        if type(value) in (list, tuple, set):
            return [type(value).__name__, [self.value(item) for item in value]]
        if isinstance(value, Mapping):
            return ["dict", [[self.value(key), self.value(item)] for key, item in value.items()]]
        raise TypeError(f"a {type(value).__name__} cannot be written")

    def _once(self, value: Any, add: Any) -> int:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = add(value), value
        return self._numbers[id(value)][0]

    def _object(self, value: Any) -> int:
        content = {field.name: self.value(getattr(value, field.name)) for field in fields(value)}
        self.objects.append([self._name(value), content])
        return len(self.objects) - 1

    def _array(self, value: Any) -> int:
        self.arrays.append(np.asarray(value))
        return len(self.arrays) - 1

    def _name(self, value: Any) -> str:
        if type(value) not in self._classes:
            raise TypeError(f"a {type(value).__name__} cannot be written")
        return full_name(type(value))


class _Decoder:
    def __init__(self, classes: Sequence[type], arrays: Mapping[str, NDArray[Any]]) -> None:
        self._classes = {full_name(kind): kind for kind in classes}
        self._arrays = arrays
        self.objects: list[Any] = []

    def object(self, item: Any) -> Any:
        """One more object, of which all that it holds has been read."""
        name, content = item
        kind = self._classes[name]
        if not is_dataclass(kind) or content.keys() != {field.name for field in fields(kind)}:
            raise ValueError(f"it holds a {name} with other fields")
        return kind(**{key: self.value(value) for key, value in content.items()})

    def value(self, value: Any) -> Any:
        if not isinstance(value, list):
            if isinstance(value, dict):
                raise ValueError("it holds a bare mapping")
            return value
        kind, *rest = value
        match kind:
            case "object":
                return self.objects[_index(rest[0])]
            case "array":
                return self._arrays[str(_index(rest[0]))]
            case "scalar":
                return self._arrays[str(_index(rest[0]))][()]
            case "enum":
                return self._enum(*rest)
            case "deque":
                return deque((self.value(item) for item in rest[1]), None if rest[0] is None else _index(rest[0]))
            case "list" | "tuple" | "set":
                return {"list": list, "tuple": tuple, "set": set}[kind](self.value(item) for item in rest[0])
            case "dict":
                return {self.value(key): self.value(item) for key, item in rest[0]}
            case _:
                raise ValueError("it holds something unknown")

    def _enum(self, name: str, value: Any) -> Any:
        kind = self._classes[name]
        if not issubclass(kind, Enum):
            raise ValueError(f"{name} is no enumeration")
        return kind(value)


def full_name(kind: type) -> str:
    """Of a class in a file: its module and name."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _index(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no index")
    return value
