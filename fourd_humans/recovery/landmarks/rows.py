"""Dataclasses whose fields are all arrays with the person first: joined over frames, and split again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def join(parts: Sequence[T]) -> T:
    """One of all the parts' people, in order. There must be a part, though it may be of nobody."""
    names = [f.name for f in fields(parts[0])]  # type: ignore[arg-type]
    return type(parts[0])(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def split(whole: T, counts: Sequence[int]) -> list[T]:
    """The people of `whole` in parts of so many each."""
    ends = np.cumsum(counts)
    return [rows(whole, slice(end - count, end)) for end, count in zip(ends, counts, strict=True)]


def rows(whole: T, chosen: slice) -> T:
    names = [f.name for f in fields(whole)]  # type: ignore[arg-type]
    changes: dict[str, Any] = {name: getattr(whole, name)[chosen] for name in names}
    return type(whole)(**changes)
