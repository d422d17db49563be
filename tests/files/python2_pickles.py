"""Writes pickles as Python 2, old numpy and chumpy wrote SMPL's."""

import io
import pickle
import struct
import sys
from types import ModuleType
from typing import ClassVar

OLD_NAMES = {
    "numpy._core.multiarray": "numpy.core.multiarray",
    "scipy.sparse._csc": "scipy.sparse.csc",
    "builtins": "__builtin__",
    "copyreg": "copy_reg",
}


class Ch:
    """Pickled like chumpy's array: the fields of the object, among them the array `x`."""

    def __init__(self, x):
        self.x = x
        self._dirty_vars = set()
        self._itr = None


class Select:
    """Pickled like chumpy's selection of entries of another array, counted through the flattened array."""

    def __init__(self, a, idxs, preferred_shape):
        self.a, self.idxs, self.preferred_shape = a, idxs, preferred_shape


class MatVecMult:
    """Pickled like an unfinished product."""

    def __init__(self, mtx, vec):
        self.mtx, self.vec = mtx, vec


for _class, _module in ((Ch, "chumpy.ch"), (Select, "chumpy.reordering"), (MatVecMult, "chumpy.ch_ops")):
    _class.__module__ = _module


def dumps(value, protocol=2):
    """`value` as Python 2 would write it: text and bytes alike as byte strings, modules under their old names."""
    written = io.BytesIO()
    modules = {}
    for module in ("chumpy", "chumpy.ch", "chumpy.reordering", "chumpy.ch_ops"):
        modules[module] = ModuleType(module)
    modules["chumpy.ch"].Ch, modules["chumpy.reordering"].Select = Ch, Select
    modules["chumpy.ch_ops"].MatVecMult = MatVecMult
    sys.modules.update(modules)
    try:
        _Python2Pickler(written, protocol).dump(value)
    finally:
        for module in modules:
            del sys.modules[module]
    return written.getvalue()


class _Python2Pickler(pickle._Pickler):
    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_byte_string(self, value):
        data = value.encode("latin1") if isinstance(value, str) else value
        if self.bin:
            self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        else:
            self.write(pickle.STRING + repr(data)[1:].encode("ascii") + b"\n")
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_byte_string

    def save_global(self, obj, name=None):
        module = getattr(obj, "__module__", None) or "builtins"
        name = name or obj.__qualname__
        self.write(pickle.GLOBAL + f"{OLD_NAMES.get(module, module)}\n{name}\n".encode())
        self.memoize(obj)

    dispatch[type] = dispatch[type(dumps)] = dispatch[type(len)] = save_global
