"""Reads PyTorch's checkpoints: what they hold, with tensors mapped into memory, and nothing of theirs run.

A file is a zip archive (since 2020) with the pickle ``data.pkl`` and an uncompressed member ``data/KEY`` for each
storage, or five pickles one after the other with the storages behind them. Both name their storages by persistent ids
(see `torch.serialization`). Tensors are made here, from a piece of the file, a plain type, and sizes and strides that
lie within the piece.
"""

from __future__ import annotations

import io
import math
import mmap
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.arrays import RefusedError
from fourd_humans.files.budget import Budget, TooLargeError, one_line
from fourd_humans.files.npz import BAD_ZIP, MAX_MEMBERS
from fourd_humans.files.pickles import array_name
from fourd_humans.files.streams import Stream
from fourd_humans.files.unpickler import Ignored, Name, Unpickler

MAX_DIMENSIONS = 16
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_KINDS = {  # of tensors that are no plain numbers, by what PyTorch calls to make them or their storages
    "qtensor": "quantised", "QInt8Storage": "quantised", "QInt32Storage": "quantised", "QUInt8Storage": "quantised",
    "QUInt4x2Storage": "quantised", "QUInt2x4Storage": "quantised", "sparse": "sparse", "meta_tensor": "meta",
    "ComplexDoubleStorage": "complex", "ComplexFloatStorage": "complex", "nested": "nested",
    "wrapper_subclass": "a subclass's", "from_type": "a subclass's", "device_tensor": "another device's",
}  # fmt: skip
# Classes of the settings that Lightning writes beside the weights. Nobody needs them; they are not imported.
_SETTINGS = frozenset(
    [f"omegaconf.{name}" for name in (
        "dictconfig.DictConfig", "listconfig.ListConfig", "base.ContainerMetadata", "base.Metadata",
        "nodes.AnyNode", "nodes.BooleanNode", "nodes.FloatNode", "nodes.IntegerNode", "nodes.StringNode",
        "nodes.InterpolationResultNode",
    )]
    + [f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "_local.PosixPath")]
    + [f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("dict", "int", "list", "str", "float")]
    + ["argparse.Namespace", "typing.Any", "torch.device", "torch.Size"]
    + [f"torch.{name}" for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32")]
)  # fmt: skip
_DICTIONARIES = frozenset((
    "collections.defaultdict", "yacs.config.CfgNode", "fvcore.common.config.CfgNode",
    "pytorch_lightning.utilities.parsing.AttributeDict", "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict", "lightning.fabric.utilities.data.AttributeDict",
))  # fmt: skip


class _Storage:
    """A piece of the file: `count` numbers of one type from byte `start` on; start is None while it is not known."""

    def __init__(self, data: mmap.mmap, dtype: torch.dtype, count: int, start: int | None) -> None:
        self.data, self.dtype, self.count, self.start = data, dtype, count, start

    @cached_property
    def numbers(self) -> Tensor:
        """Mapped, or a copy where numbers of this size must not begin, or are truth values of other bytes than 0, 1."""
        start = self.start or 0
        if self.dtype == torch.bool:
            return torch.frombuffer(self.data, dtype=torch.uint8, count=self.count, offset=start) != 0
        if start % self.dtype.itemsize:
            piece = bytearray(self.data[start : start + self.count * self.dtype.itemsize])
            return torch.frombuffer(piece, dtype=self.dtype)
        return torch.frombuffer(self.data, dtype=self.dtype, count=self.count, offset=start)


def read_torch(path: Path | str) -> Any:
    """The containers, numbers, text, arrays and tensors in a file of ``torch.save``.

    Raises: RefusedError, TooLargeError, OSError, or ValueError for what is no such file.
    """
    path = Path(path)
    size = path.stat().st_size
    if size == 0:
        raise ValueError("it is empty")
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # tensors may be written to; the file stays
        try:
            return _read_zip(file, data, size) if zipfile.is_zipfile(file) else _read_legacy(file, data, size)
        except EOFError as error:
            raise ValueError("it ends early") from error


def _read_zip(file: IO[bytes], data: mmap.mmap, size: int) -> Any:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS * 10:
                raise TooLargeError(f"it has {len(members)} members")
            pickled = [member for member in members if member.filename.split("/")[1:] == ["data.pkl"]]
            if len(pickled) != 1:
                raise ValueError("it has no data.pkl")
            folder = pickled[0].filename.removesuffix("data.pkl")
            byteorder = [m for m in members if m.filename == f"{folder}byteorder" and m.file_size <= 16]
            if byteorder and archive.read(byteorder[0]) != sys.byteorder.encode():
                raise ValueError("it was written on a machine with the other byte order")
            start, length = _place(data, pickled[0])
    except RefusedError:
        raise
    except BAD_ZIP as error:
        raise error if isinstance(error, ValueError) else ValueError(str(error)) from error
    storages = {member.filename: member for member in members}

    found: dict[tuple[torch.dtype, str, int], _Storage] = {}

    def find_storage(value: Any) -> _Storage:
        dtype, key, count = kind = _storage_id(value)
        if kind not in found:
            if (member := storages.get(f"{folder}data/{key}")) is None:
                raise ValueError(f"it lacks the storage {key[:40]!r}")
            begin, available = _place(data, member)
            if count * dtype.itemsize > available:
                raise ValueError(f"its storage {key[:40]!r} is too short")
            found[kind] = _Storage(data, dtype, count, begin)
        return found[kind]

    budget = Budget(size)
    stream = Stream(io.BytesIO(data[start : start + length]), budget, plain=True)
    return Unpickler(stream, budget, _find, find_storage).load()


def _place(data: mmap.mmap, member: zipfile.ZipInfo) -> tuple[int, int]:
    """Where the uncompressed contents of a member lie in the file, and how long they are."""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise ValueError("its members are compressed or encrypted")
    header = data[member.header_offset : member.header_offset + 30]
    if len(header) != 30 or header[:4] != b"PK\x03\x04":
        raise ValueError("it is a damaged archive")
    start = member.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
    if member.file_size != member.compress_size or start + member.file_size > len(data):
        raise ValueError("it ends early")
    return start, member.file_size


def _read_legacy(file: IO[bytes], data: mmap.mmap, size: int) -> Any:
    """Twice: storages lie behind the pickle that names them, and must be found before tensors can be made of them."""
    wanted: dict[str, _Storage] = {}

    def find_storage(value: Any) -> _Storage:
        dtype, key, count = _storage_id(value)
        if len(value) == 6 and value[5] is not None:
            raise RefusedError("a view of a storage")
        storage = wanted.setdefault(key, _Storage(data, dtype, count, None))
        if (storage.dtype, storage.count) != (dtype, count):
            raise ValueError(f"its storage {key[:40]!r} is of two kinds")
        return storage

    def load() -> tuple[Any, Any, int]:
        file.seek(0)
        budget = Budget(size)
        machine = Unpickler(Stream(file, budget, plain=True), budget, _find, find_storage)
        magic, version, system = machine.load(), machine.load(), machine.load()
        if magic != LEGACY_MAGIC or version != LEGACY_VERSION:
            raise ValueError("it is no file of torch.save")
        if isinstance(system, dict) and system.get("little_endian", True) != (sys.byteorder == "little"):
            raise ValueError("it was written on a machine with the other byte order")
        return machine.load(), machine.load(), machine.place

    _, keys, place = load()
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in wanted for key in keys):
        raise ValueError("it does not list its storages")
    for key in keys:
        storage = wanted[key]
        if int.from_bytes(data[place : place + 8], "little") != storage.count or storage.start is not None:
            raise ValueError(f"its storage {key[:40]!r} has another length than it should")
        storage.start = place + 8
        place += 8 + storage.count * storage.dtype.itemsize
        if place > len(data):
            raise ValueError("it ends early")
    if missing := [key for key, storage in wanted.items() if storage.start is None]:
        raise ValueError(f"it lacks the storage {missing[0][:40]!r}")
    return load()[0]


def _storage_id(value: Any) -> tuple[torch.dtype, str, int]:
    """('storage', type, key, where it was, how many numbers[, view])."""
    if not (isinstance(value, tuple) and len(value) in (5, 6) and value[0] == "storage"):
        raise ValueError("a reference to something outside the file")
    _, kind, key, _, count = value[:5]
    dtype = _STORAGES.get(kind.name.rpartition(".")[2]) if isinstance(kind, Name) else None
    if dtype is None or not isinstance(key, str) or type(count) is not int or not 0 <= count < 1 << 48:
        raise ValueError("a storage of no plain type")
    return dtype, key, count


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """``torch._utils._rebuild_tensor_v2``, with everything that it is given checked."""
    if not (
        isinstance(storage, _Storage)
        and all(isinstance(value, tuple) and len(value) <= MAX_DIMENSIONS for value in (size, stride))
        and len(size) == len(stride)
        and all(type(n) is int and 0 <= n < 1 << 48 for n in (offset, *size, *stride))
    ):
        raise ValueError("a tensor without its sizes")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count > storage.count or (count and last >= storage.count):
        raise ValueError(f"a tensor of shape {size[:4]} that does not fit its storage")
    if math.prod(n for n in size if n) >= 1 << 60:
        raise ValueError("a tensor of no possible shape")
    if count == 0 or storage.start is None:
        return torch.empty(size if count == 0 else (0,), dtype=storage.dtype)
    return storage.numbers.as_strided(size, stride, offset)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise ValueError("a parameter that is no tensor")
    return tensor


def _dictionary(*_: Any) -> OrderedDict[Any, Any]:
    return OrderedDict()  # the entries follow


_CALLS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
}


def _find(module: str, name: str) -> Name | None:
    """What checkpoints name. Raises: RefusedError for tensors that are no plain numbers, by their kind."""
    full = f"{module}.{name}"
    if (module, name) in _CALLS:
        return Name(full, _CALLS[module, name])
    if module in ("torch", "torch.cuda", "torch.storage") and name in _STORAGES:
        return Name(full)
    if full in _DICTIONARIES:
        return Name(full, _dictionary)
    if full in _SETTINGS:
        return Name(full, Ignored)
    if module.split(".")[0] == "torch":
        for part, kind in _KINDS.items():
            if part in name:
                raise RefusedError(f"{full} ({kind} tensors)")
    return array_name(module, name)


def check_plain(name: str, tensor: Tensor, path: Path | str) -> Tensor:
    """`tensor`, if it is one of plain numbers. Raises: FourDHumansError naming its kind otherwise."""
    if tensor.is_quantized or tensor.is_meta or tensor.layout != torch.strided or tensor.dtype not in PLAIN:
        kinds = {tensor.is_quantized: "quantised", tensor.layout != torch.strided: "sparse", tensor.is_meta: "meta"}
        kind = kinds.get(True) or ("complex" if tensor.is_complex() else str(tensor.dtype).removeprefix("torch."))
        raise FourDHumansError(
            f"{path} refused: its entry '{one_line(name)}' is a {kind} tensor, not one of plain numbers"
        )
    return tensor


PLAIN = frozenset(_STORAGES.values())
