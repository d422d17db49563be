"""Equality of what flows through the chain."""

import numpy as np


def assert_same(one: object, other: object, tolerance: float = 0.0) -> None:
    """Equal in every field, arrays in shape and type, too."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b, tolerance)
    elif hasattr(one, "__dataclass_fields__"):
        for name in one.__dataclass_fields__:
            assert_same(getattr(one, name), getattr(other, name), tolerance)
    else:
        assert one == other
