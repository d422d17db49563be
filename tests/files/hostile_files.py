"""Writes files that try to crash, run code in, or exhaust whatever reads them. `cases` gives all of them."""

# ruff: noqa: E501 (tables of one file a line)

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import joblib
import numpy as np
import torch
from safetensors.torch import save

MARKER = "hostile_file_was_run"
PROTO = b"\x80\x04"


@dataclass(frozen=True)
class Case:
    """A file. reader: which of `readers` gets it. refused: it must be refused; otherwise it may also be read."""

    name: str
    reader: str
    suffix: str
    data: bytes
    refused: bool = True


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def push(value: object) -> bytes:
    """The opcodes that push a plain value."""
    return pickle.dumps(value, 3)[2:-1]


def dtype(code: str, state: bytes | None = None) -> bytes:
    made = call("numpy", "dtype", text(code), b"\x89", b"\x88")
    return made if state is None else made + state + b"b"


def array(kind: bytes, shape: bytes, data: bytes, fortran: bytes = b"\x89") -> bytes:
    new = call("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", push((0,)), push(b"b"))
    return new + b"(" + integer(1) + shape + kind + fortran + data + b"tb"


def forged_types() -> Iterator[tuple[str, bytes]]:
    """Types whose state makes numpy follow pointers that come from the file."""
    objects = dtype("O8")
    number = dtype("f8")
    plain = push("|") + b"N"
    fields = {
        "object field without object flags": (b"(" + text("a") + b"t", b"}" + text("a") + b"(" + objects + integer(0) + b"ts", 8, 0),
        "field beyond the element": (b"(" + text("a") + b"t", b"}" + text("a") + b"(" + number + integer(1 << 20) + b"ts", 8, 0),
        "field before the element": (b"(" + text("a") + b"t", b"}" + text("a") + b"(" + number + integer(-64) + b"ts", 8, 0),
        "names without fields": (b"(" + text("a") + b"t", b"}", 8, 0),
    }  # fmt: skip
    for name, (names, values, size, flags) in fields.items():
        state = b"(" + integer(3) + plain + names + values + integer(size) + integer(1) + integer(flags) + b"t"
        yield name, array(dtype("V8", state), push((2,)), push(b"\x41" * 16))
    subarray = b"(" + number + push((1 << 20,)) + b"t"
    state = b"(" + integer(3) + push("|") + subarray + b"NN" + integer(8) + integer(1) + integer(0) + b"t"
    yield "sub-array larger than its element", array(dtype("V8", state), push((2,)), push(b"\x41" * 16))
    for size in (-1, 0, 1 << 30):
        state = b"(" + integer(3) + push("<") + b"NNN" + integer(size) + integer(1) + integer(63) + b"t"
        yield f"float of {size} bytes with all flags", array(dtype("f8", state), push((2,)), push(b"\x41" * 15))
    state = b"(" + integer(3) + push("|") + b"NNN" + integer(8) + integer(1) + integer(0) + b"t"
    yield "objects without object flags", array(dtype("O8", state), push((2,)), push(b"\x41" * 16))
    for code in (
        "V8",
        "c8",
        "c16",
        "f16",
        "M8",
        "m8[ns]",
        "O",
        "U0",
        "U999999",
        "S999999",
        "a5",
        "f3",
        "i16",
        "",
        "f8,O",
    ):
        yield f"type {code!r}", array(dtype(code), push((2,)), push(b"\x41" * 16))
    yield "objects from bytes", call("numpy", "ndarray", push((2,)), push("O"), push(bytearray(16)))
    yield "text that is none", array(dtype("U2"), push((1,)), push(b"\xff" * 8))


def forged_arrays() -> Iterator[tuple[str, bytes]]:
    number = dtype("f8")
    for name, shape in {
        "negative": (-1,), "enormous": (1 << 47, 1 << 47), "too short": (3,), "too long": (1,), "deep": (1,) * 40,
        "nested": ((2,),), "fractional": (2.0,), "true": (True, 2), "none": None, "overflowing": (1 << 32, 1 << 32, 0, 5),
    }.items():  # fmt: skip
        yield f"array of {name} shape", array(number, push(shape), push(b"\x41" * 16))
    yield "array of text bytes", array(number, push((2,)), text("ä€" * 8))
    yield "array without bytes", array(number, push((2,)), b"N")
    yield "array of a number", array(number, push((2,)), integer(5))
    yield (
        "array of itself",
        call("numpy.core.multiarray", "_reconstruct", b"N", b"N", b"N") + b"q\x00(K\x01h\x00h\x00h\x00h\x00tb",
    )
    yield "objects of too few", array(dtype("O8"), push((5,)), b"]")
    yield "objects in objects", array(dtype("O8"), push((1,)), b"(" + array(dtype("O8"), push((1,)), b"(Nl") + b"l")
    yield "scalar of no type", call("numpy.core.multiarray", "scalar", b"N", push(b"12345678"))
    yield "scalar too short", call("numpy.core.multiarray", "scalar", number, push(b"1"))
    yield (
        "buffer beyond its end",
        call("numpy.core.numeric", "_frombuffer", push(b"1234"), number, push((100,)), push("C")),
    )
    yield "bytearray of a terabyte", call("builtins", "bytearray", b"\x8a\x06" + (1 << 40).to_bytes(6, "little"))
    yield "joblib's array of nothing", call("joblib.numpy_pickle", "NumpyArrayWrapper") + b"}b"
    wrapper = b"}(" + text("dtype") + number + text("shape") + push((1 << 40,)) + text("order") + text("C") + b"u"
    yield "joblib's array of terabytes", call("joblib.numpy_pickle", "NumpyArrayWrapper") + wrapper + b"b"


def exhausting(many: int) -> Iterator[tuple[str, bytes]]:
    """Small files that stand for memory or time without end."""
    for index in (1 << 28, (1 << 32) - 1):
        yield f"memo {index}", b"]r" + struct.pack("<I", index)
        yield f"recall of {index}", b"j" + struct.pack("<I", index)
    yield "memo in text", b"]p" + b"9" * 4000 + b"\n"
    for code, size in (
        (b"B", 4),
        (b"X", 4),
        (b"T", 4),
        (b"\x8b", 4),
        (b"\x8e", 8),
        (b"\x8d", 8),
        (b"\x96", 8),
        (b"\x95", 8),
    ):
        length = (1 << (8 * size - 1)) - 1
        yield f"length {length} of opcode {code!r}", code + length.to_bytes(size, "little") + b"short"
    yield "number of many digits", b"I" + b"9" * many + b"\n"
    yield "long of many digits", b"L" + b"9" * many + b"L\n"
    yield "long of many bytes", b"\x8b" + struct.pack("<I", many) + b"\x7f" * many
    yield "fraction of many digits", b"F0." + b"1" * many + b"\n"
    yield "line without end", b"S'" + b"a" * many
    yield "name without end", b"c" + b"a" * many
    for name, code in {"lists": b"]", "dictionaries": b"}", "sets": b"\x8f", "marks": b"(", "tuples": b")\x85"}.items():
        yield f"{many} {name} on the stack", code * many
        yield f"{many} {name} remembered", (code + b"\x94") * (many // 2)
    yield "lists in lists", b"]" * many + b"a" * (many - 1)
    yield "tuples in tuples", b")" + b"\x85" * many
    yield "dictionaries in dictionaries", (b"}" + text("a")) * (many // 4) + b"}" + b"s" * (many // 4)
    doubled = b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(40))
    tuples = b")q\x000" + doubled
    yield "tuples nested 40-fold as value", tuples
    yield "tuples nested 40-fold as key", b"}" + tuples + b"Ns"
    yield "tuples nested 40-fold in a set", b"\x8f(" + tuples + b"\x90"
    yield "tuples nested 40-fold in a frozenset", b"(" + tuples + b"\x91"
    lists = b"]q\x00" + b"".join(b"0](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(40))
    yield "lists nested 40-fold", lists
    yield (
        "dictionaries nested 40-fold",
        b"}q\x00"
        + b"".join(b"0}(K\x00h" + bytes([i]) + b"K\x01h" + bytes([i]) + b"uq" + bytes([i + 1]) for i in range(40)),
    )
    yield "list in itself", b"]q\x00h\x00a"
    yield "dictionary in itself", b"}q\x00K\x00h\x00s"
    yield "tuple in itself", b"]q\x00h\x00\x85ah\x00\x85"
    block = call("numpy", "ndarray", push((1 << 16,)), push("|u1"), call("builtins", "bytearray", push(bytes(1 << 16))))
    yield "one array many times", b"](" + block + b"q\x00" + b"h\x00" * many + b"e"
    collisions = b"".join(b"\x8a\x0a" + (k * ((1 << 61) - 1)).to_bytes(10, "little") + b"N" for k in range(many // 5))
    yield "keys that collide", b"}(" + collisions + b"u"
    yield "copies on the stack", b"]" + b"2" * many
    yield "values that are thrown away", b"N0" * many
    select = (
        b"cchumpy.reordering\nSelect\n)\x81}("
        + text("a")
        + b"h\x00"
        + text("idxs")
        + b"h\x00"
        + text("preferred_shape")
    )
    yield (
        "selection of itself",
        b"cchumpy.reordering\nSelect\n)\x81q\x00}(" + text("a") + b"h\x00" + text("idxs") + b"h\x00ub",
    )
    yield "unfinished selection", select
    sparse = b"cscipy.sparse.csc\ncsc_matrix\n)\x81}(" + text("_shape") + push((1 << 30, 1 << 30))
    for name in ("data", "indices", "indptr"):
        sparse += text(name) + call(
            "numpy", "ndarray", push((1,)), push("<i4"), call("builtins", "bytearray", push(bytes(4)))
        )
    yield "sparse matrix of exabytes", sparse + b"ub"


def running() -> Iterator[tuple[str, bytes]]:
    """Calls and state that a file of arrays does not need."""
    command, code = text(f"touch {MARKER}"), text(f"open({MARKER!r}, 'w').close()")
    yield "os.system", call("posix", "system", command)
    yield "nt.system", call("nt", "system", command)
    for module in ("builtins", "__builtin__"):
        for name in ("eval", "exec", "compile", "open", "getattr", "__import__", "type", "globals", "map"):
            yield f"{module}.{name}", call(module, name, code)
    for module, name in (
        ("subprocess", "Popen"), ("numpy", "load"), ("numpy", "fromfile"), ("joblib", "load"), ("torch", "load"),
        ("operator", "attrgetter"), ("functools", "partial"), ("types", "FunctionType"), ("pickle", "loads"),
        ("numpy.testing._private.utils", "runstring"), ("torch.hub", "load"), ("numpy", "ndarray.tofile"),
        ("chumpy.ch", "os.system"), ("scipy.sparse.csc.os", "system"), ("torch._utils", "_import_dotted_name"),
    ):  # fmt: skip
        yield f"{module}.{name}", call(module, name, command)
    yield "by protocol 0", b"(" + command + b"iposix\nsystem\n"
    yield "by OBJ", b"(cposix\nsystem\n" + command + b"o"
    yield "by NEWOBJ", b"cposix\nsystem\n" + command + b"\x85\x81"
    yield "by NEWOBJ_EX", b"cposix\nsystem\n" + command + b"\x85}\x92"
    yield "by STACK_GLOBAL", text("posix") + text("system") + b"\x93" + command + b"\x85R"
    yield "by extension code", b"\x82\x01"
    yield "by persistent id", b"Pwitness\n"
    yield "by binary persistent id", command + b"Q"
    yield "by buffer", b"\x97\x98"
    for name, target in {
        "array's class": b"cnumpy\nndarray\n", "dtype's class": b"cnumpy\ndtype\n", "list": b"]", "text": text("a"),
        "None": b"N", "function": b"cnumpy.core.multiarray\nscalar\n", "number": b"K\x01", "dictionary": b"}",
    }.items():  # fmt: skip
        yield f"state for a {name}", target + b"(N}" + text("__class__") + b"Nstb"


def malformed() -> Iterator[tuple[str, bytes]]:
    yield from {
        "empty stack": b"", "nothing to append to": b"Na", "items of a number": b"K\x01(NNu", "odd items": b"}(Nu",
        "mark too few": b"NNu", "unknown opcode": b"\xff", "tuple of nothing": b"\x87", "stop in a mark": b"]((",
        "string without quotes": b"Sabc\n", "string with half an escape": b"S'\\x'\n", "text that is no UTF-8": b"X\x02\0\0\0\xff\xfe",
        "unicode escape": b"V\\U99999999\n", "number of letters": b"Iabc\n", "fraction of letters": b"Fabc\n",
        "recall of nothing": b"h\x05", "global of one line": b"cabc", "call of text": text("a") + b")R",
        "call without tuple": b"cnumpy\ndtype\n]R",
    }.items()  # fmt: skip


def payloads(many: int) -> Iterator[tuple[str, bytes]]:
    yield from exhausting(many)
    for group in (forged_types, forged_arrays, running, malformed):
        yield from group()


def frame(value: bytes) -> bytes:
    """A result file with one frame."""
    return PROTO + b"}" + text("000000") + value + b"s."


def field(name: str, value: bytes) -> bytes:
    """A result file with a frame of one person where one field is another."""
    entry = honest_entry()
    entry.pop(name, None)
    pickled = pickle.dumps(entry, 4)
    return PROTO + b"}" + text("000000") + call_free(pickled) + text(name) + value + b"ss."


def call_free(pickled: bytes) -> bytes:
    """The opcodes of a pickle, to be put into another: without its header, frame and end."""
    return pickle._dumps(pickle.loads(pickled), 2)[2:-1]  # type: ignore[attr-defined]


def honest_entry() -> dict[str, object]:
    eye = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    return {
        "time": 0, "shot": 0, "tid": [1], "tracked_time": [0], "bbox": [[1.0, 2.0, 30.0, 40.0]], "size": [[72, 128]],
        "conf": [0.5], "smpl": [{"global_orient": [eye], "body_pose": [eye] * 23, "betas": [0.0] * 10}],
        "camera": [[0.0, 0.0, 30.0]], "camera_bbox": [[0.9, 0.0, 0.0]], "3d_joints": [[[0.0] * 3] * 45],
        "2d_joints": [[0.5] * 90], "mask": [[{"size": [2, 2], "counts": "04"}]], "seconds": 0.0,
    }  # fmt: skip


def results(many: int) -> Iterator[Case]:
    def case(name: str, data: bytes, refused: bool = True) -> Case:
        return Case(name, "results", ".pkl", data, refused)

    yield Case("honest", "results", ".pkl", frame(call_free(pickle.dumps(honest_entry()))), refused=False)
    for name, value in payloads(many):
        yield case(f"frame: {name}", frame(value))
    for number, (name, value) in enumerate(forged_types()):
        packed = (
            zlib.compress(frame(value)) if number % 2 else PROTO + b"}(" + text("a") + b"]" + text("b") + value + b"u."
        )
        yield case(f"second frame: {name}", packed)
    doubled = dict(exhausting(many))
    bad = {
        "tuples nested 40-fold": doubled["tuples nested 40-fold as value"], "None": b"N", "text": text("a" * 1000),
        "huge number": b"\x8a\x20" + b"\x7f" * 32, "not a number": b"G\x7f\xf8\0\0\0\0\0\0", "dictionary": b"}",
        "lists": b"]" * 500 + b"a" * 499,
    }  # fmt: skip
    for name in ("tid", "bbox", "smpl", "camera", "3d_joints", "2d_joints", "conf", "tracked_time", "mask", "size"):
        for what, value in bad.items():
            yield case(
                f"{name} is {what}",
                field(name, value),
                refused=not (what in ("None", "dictionary") and name in ("mask", "size")),
            )
    for name in ("time", "seconds", "frame_size", "focal_length", "principal_point", "shape_space", "error", "dropped",
                 "annotations", "extra_data", "made_with", "end", "shot", "detected"):  # fmt: skip
        for what in ("tuples nested 40-fold", "huge number", "lists"):
            yield case(f"{name} is {what}", field(name, bad[what]), refused=False)
    for name, rle in {
        "of a terapixel": {"size": [1 << 20, 1 << 20], "counts": "0"}, "of endless runs": {"size": [4, 4], "counts": "o" * 999 + "0"},
        "of many runs": {"size": [1 << 15, 1 << 15], "counts": "1" * 2_000_000}, "of negative size": {"size": [-4, -4], "counts": "4"},
        "that is a list": {"size": [4, 4], "counts": [1 << 62] * 4}, "without counts": {"size": [4, 4]}, "of text": "a",
    }.items():  # fmt: skip
        yield case(f"mask {name}", field("mask", push([[rle]])))
    names = b"".join(text(str(n)) + b"}(" + text("tid") + b"]u" for n in range(10))
    yield case("frames without an end", PROTO + b"}" + names)
    yield case("lzma of a huge dictionary", b"\x5d" + struct.pack("<IQ", 0xFFFFFFFF, 1 << 40) + bytes(50))
    yield case("lz4", b"\x04\x22\x4d\x18" + bytes(50))
    generator = random.Random(0)
    honest = frame(call_free(pickle.dumps(honest_entry())))
    for number in range(20):
        data = bytearray(honest)
        for _ in range(5):
            data[generator.randrange(len(data))] = generator.randrange(256)
        yield case(f"changed bytes {number}", bytes(data), refused=False)
        yield case(f"random bytes {number}", generator.randbytes(500))
    packed = io.BytesIO()
    joblib.dump({"a": np.array([{}, None], dtype=object), "b": np.ones(3)}, packed)
    for number in range(10):
        data = bytearray(packed.getvalue())
        data[generator.randrange(len(data))] = generator.randrange(256)
        yield case(f"changed byte of joblib {number}", bytes(data))


def xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=0)


def bomb_of(size: int) -> bytes:
    compress = zlib.compressobj(6)
    parts = [compress.compress(PROTO + b"}" + text("a") + b"\x8e" + struct.pack("<Q", size))]
    parts += [compress.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join(parts) + compress.flush()


def pickles(many: int) -> Iterator[Case]:
    """Bodies, statistics, sequences of 3DPW and weights are pickles of arrays."""
    header = (
        b"\x93NUMPY\x01\x00\x46\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }".ljust(69) + b"\n"
    )
    for number, (name, value) in enumerate(payloads(many)):
        whole = PROTO + value + b"."
        yield Case(f"body: {name}", "body", ".pkl", whole)
        if number % 2:
            yield Case(
                f"weights: {name}", "weights", ".pkl", PROTO + b"}" + text("model") + b"}" + text("a") + value + b"ss."
            )
        elif number % 3:
            yield Case(f"statistics: {name}", "statistics", ".npy", header + whole)
        else:
            yield Case(f"3dpw: {name}", "pickle", ".pkl", whole, refused=False)


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as stored:
        for name, data in members.items():
            stored.writestr(name, data)
    return file.getvalue()


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header.encode("latin1") + data


def npz_files() -> Iterator[Case]:
    def described(kind: str, shape: str = "(2,)", fortran: str = "False") -> str:
        return f"{{'descr': {kind}, 'fortran_order': {fortran}, 'shape': {shape}, }}"

    for name, data in {
        "terabytes": npy(described("'<f8'", "(1099511627776,)")), "negative": npy(described("'<f8'", "(-1,)")),
        "objects": npy(described("'|O'"), bytes(16)), "structures": npy(described("[('a', '|O'), ('b', '<f8')]"), bytes(32)),
        "calls": npy(f"__import__('os').system('touch {MARKER}')"), "deep": npy("(" * 5000), "long": npy("{" + " " * 60000),
        "complex": npy(described("'<c16'"), bytes(32)), "text": npy(described("'<U2'"), b"\xff" * 16),
        "huge text": npy(described("'<U999999'"), bytes(16)), "cut off": npy(described("'<f8'"), bytes(9)),
        "dates": npy(described("'<M8[ns]'"), bytes(16)), "version 9": npy(described("'<f8'"), bytes(16), 9),
        "nothing": b"", "digits": npy(described("'<f8'", "(" + "9" * 5000 + ",)")),
        "zero and huge": npy(described("'<f8'", "(0, 140737488355328, 140737488355328)")),
    }.items():  # fmt: skip
        yield Case(f"npy: {name}", "atlas", ".npy", data)
        yield Case(f"npz: {name}", "npz", ".npz", archive({"imgname.npy": data, "center.npy": data}))
        if name in ("terabytes", "objects", "calls", "structures"):
            yield Case(f"body npz: {name}", "body", ".npz", archive({"v_template.npy": data}))
    yield Case(
        "npz in lzma", "npz", ".npz", archive({"imgname.npy": npy(described("'<f8'"), bytes(16))}, zipfile.ZIP_LZMA)
    )
    yield Case(
        "npz of many members", "npz", ".npz", archive({f"{n}.npy": b"" for n in range(20_000)}, zipfile.ZIP_STORED)
    )
    whole = bytearray(archive({"imgname.npy": npy(described("'<f8'"), bytes(16))}))
    for number in range(12):
        changed = bytearray(whole)
        changed[random.Random(number).randrange(len(whole))] ^= 0xFF
        yield Case(f"npz changed byte {number}", "npz", ".npz", bytes(changed))


def checkpoint(pickled: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    return archive(
        {"a/data.pkl": pickled, "a/byteorder": b"little"} | {f"a/data/{k}": v for k, v in storages.items()}, compression
    )


def tensor(
    count: int = 4,
    offset: int = 0,
    size: object = (4,),
    stride: object = (1,),
    kind: str = "FloatStorage",
    key: str = "0",
) -> bytes:
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + push(count) + b"tQ"
    return call("torch._utils", "_rebuild_tensor_v2", storage, push(offset), push(size), push(stride), b"\x89", b"N")


def torch_files(many: int) -> Iterator[Case]:
    def case(name: str, data: bytes, refused: bool = True) -> Case:
        return Case(f"torch: {name}", "weights", ".pth", data, refused)

    def one(value: bytes, storages: dict[str, bytes] | None = None) -> bytes:
        return checkpoint(PROTO + b"}" + text("w") + value + b"s.", storages or {"0": bytes(16)})

    yield case("honest", one(tensor()), refused=False)
    for name, value in {
        "storage that is longer than its member": tensor(count=1 << 40), "offset beyond": tensor(offset=1 << 40),
        "negative offset": tensor(offset=-1), "size beyond": tensor(size=(5,)), "stride beyond": tensor(stride=(1 << 40,)),
        "negative stride": tensor(stride=(-1,)), "expanded": tensor(size=(1 << 20, 1 << 20), stride=(0, 0)),
        "sizes without strides": tensor(size=(2, 2)), "many dimensions": tensor(size=(1,) * 99, stride=(1,) * 99),
        "empty and huge": tensor(size=(0, 1 << 40, 1 << 40), stride=(1, 1, 1)), "no such storage": tensor(key="../../etc/passwd"),
        "complex": tensor(kind="ComplexFloatStorage"), "quantised storage": tensor(kind="QInt8Storage"),
        "quantised": call("torch._utils", "_rebuild_qtensor", b"N", b"N"), "meta": call("torch._utils", "_rebuild_meta_tensor_no_storage", b"N"),
        "sparse": call("torch._utils", "_rebuild_sparse_tensor", b"N"), "nested": call("torch._utils", "_rebuild_nested_tensor", b"N"),
        "subclass": call("torch._tensor", "_rebuild_from_type_v2", b"N"), "no storage": call("torch._utils", "_rebuild_tensor_v2", b"N", b"N", b"N", b"N"),
        "parameter of nothing": call("torch._utils", "_rebuild_parameter", b"N", b"N", b"N"),
    }.items():  # fmt: skip
        yield case(name, one(value))
    storage = {"0": bytes(1 << 20)}
    shared = b"}(" + b"".join(text(str(n)) + tensor(1 << 18, size=(1 << 18,)) for n in range(500)) + b"u."
    yield case("one storage under many names", checkpoint(PROTO + shared, storage))
    yield case(
        "compressed", checkpoint(PROTO + b"}" + text("w") + tensor() + b"s.", {"0": bytes(16)}, zipfile.ZIP_DEFLATED)
    )
    yield case("no data.pkl", archive({"a/version": b"3"}))
    yield case("name of two lines", one(b"Ns" + text("a\nb") + b"N"))
    for number, (name, value) in enumerate(payloads(many)):
        if number % 3 == 0:
            yield case(f"member: {name}", one(value))
    whole = io.BytesIO()
    torch.save({"w": torch.arange(4.0)}, whole, _use_new_zipfile_serialization=False)
    legacy = whole.getvalue()
    for number in range(15):
        changed = bytearray(legacy)
        changed[random.Random(number).randrange(len(legacy))] ^= 0xFF
        yield case(f"old format, changed byte {number}", bytes(changed), refused=False)
    for length in (0, 20, len(legacy) // 2, len(legacy) - 1):
        yield case(f"old format, cut at {length}", legacy[:length])
    named = save({"w": torch.zeros(4)})
    for name, data in {
        "header of exabytes": struct.pack("<Q", 1 << 62) + named[8:], "header that is none": struct.pack("<Q", 8) + b"{{{{{{{{",
        "empty": b"", "cut off": named[:-4], "complex": save({"w": torch.zeros(4, dtype=torch.complex64)}),
        "offsets beyond": named.replace(b"[0,16]", b"[0,99]"), "deep header": struct.pack("<Q", 5000) + b"[" * 5000,
    }.items():  # fmt: skip
        yield Case(f"safetensors: {name}", "weights", ".safetensors", data)
    for name, settings in {
        "wide": {"width": 1 << 40}, "deep": {"depth": 1 << 30}, "long": {"frames": 1 << 30}, "negative": {"width": -1},
        "of a list": {"width": [[[1]]]}, "unknown": {"size": 3}, "wide readout": {"readout_width": 1 << 14}, "text": {"heads": "a"},
    }.items():  # fmt: skip
        stated = {"pose_transformer": json.dumps({"frames": 8, "width": 8, "depth": 1, "heads": 1} | settings)}
        weights = {"mean": torch.zeros(229), "std": torch.ones(229), "mask_token": torch.zeros(8)}
        yield Case(f"settings: {name}", "motion", ".safetensors", save(weights, stated))


def text_files() -> Iterator[Case]:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    merged = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))
    for name, content in {
        "anchors": bomb, "merged anchors": merged, "in itself": "a: &a [*a]", "deep": "[" * 20_000, "deep blocks": "- " * 3000 + "a",
        "digits": "a: " + "9" * 6000, "object": "!!python/object/apply:os.system ['touch " + MARKER + "']",
        "tuple": "!!python/tuple [1, 2]", "large": "a: " + "b" * (1 << 22), "date": "a: 2001-99-99", "list as key": "? [a]\n: b",
        "not UTF-8": "a: \udcff", "tabs": "a:\t- b", "binary": "a: !!binary '***'",
    }.items():  # fmt: skip
        yield Case(f"yaml: {name}", "yaml", ".yaml", content.encode("utf-8", "surrogateescape"))
    box = {"image_id": 1, "bbox": [0, 0, 9, 9], "category_id": 1}
    for name, data in {
        "deep": "[" * 100_000, "many lists": "[" + "[]," * 1_000_000 + "[]]", "2000 boxes in a frame": json.dumps([box] * 2000),
        "digits": json.dumps([box | {"bbox": [0, 0, 1, 1]}]).replace('"image_id": 1', '"image_id": ' + "9" * 5000),
        "not a number": '[{"image_id": NaN, "bbox": [0, 0, 1, Infinity]}]', "number": "5", "entries of text": '["a"]',
        "images of text": '{"images": "a", "annotations": []}', "image of a list": '{"images": [{"id": []}], "annotations": []}',
        "category of a list": '{"annotations": [], "categories": [{"name": "person", "id": []}]}', "cut off": '[{"image_id": 1,',
        "boxes of boxes": json.dumps([box | {"bbox": [[0], [0], [1], [1]]}]), "keypoints of text": json.dumps([box | {"keypoints": ["a"] * 51}]),
        "long file name": json.dumps({"images": [{"id": 1, "file_name": "9" * 5000}], "annotations": [box]}),
    }.items():  # fmt: skip
        yield Case(f"json: {name}", "boxes", ".json", data.encode(), refused=name != "long file name")
        yield Case(f"coco: {name}", "coco", ".json", data.encode())
    row = "1,1,0,0,9,9,1\n"
    for name, data in {
        "2000 boxes in a frame": row * 2000, "line without end": "1," * 100_000, "digits": "1,1,0,0,9," + "9" * 5000 + "\n",
        "infinite": "1,1,0,0,inf,9\n", "not a number": "nan,1,0,0,9,9\n", "frame 0": "0,1,0,0,9,9\n", "enormous": "1e300,1,0,0,9,9\n",
        "fraction": "1.5,1,0,0,9,9\n", "zero bytes": "\0" * 1000, "letters": "a,b,c,d,e,f\n", "few": "1,2,3\n", "hexadecimal": "0x1,1,0,0,9,9\n",
    }.items():  # fmt: skip
        yield Case(f"mot: {name}", "boxes", ".txt", data.encode())
        yield Case(f"mot sequence: {name}", "mot", ".txt", data.encode())
    for name, data in {
        "long field": '"' + "a" * 200_000 + '"', "zero bytes": "\0" * 1000, "letters": "v,902,a,b,c,d,1,0.5",
        "digits": "v," + "9" * 5000 + ",0,0,1,1,1,0.5", "not a number": "v,902,nan,0,1,1,1,0.5", "open quotes": '"v,902,0,0,1,1,1,0.5\n' * 1000,
    }.items():  # fmt: skip
        yield Case(f"ava: {name}", "ava", ".csv", data.encode(), refused=name != "open quotes")


def tar(*members: tuple[str, bytes, bytes], pax: dict[str, str] | None = None) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(data)
            info.pax_headers = pax or {}
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def archives() -> Iterator[Case]:
    regular = tarfile.REGTYPE
    honest = tar(("model.ckpt", regular, b"weights"))
    header = bytearray(tar(("x" * 50, b"L", b"a" * 100))[:512])
    for name, data in {
        "outside": tar(("../model.ckpt", regular, b"x")), "at the root": tar(("/model.ckpt", regular, b"x")),
        "two lines outside": tar(("../a\nb", regular, b"x")), "without it": tar(("other", regular, b"x")),
        "link out": tar(("model.ckpt", tarfile.SYMTYPE, b"")), "device": tar(("model.ckpt", tarfile.CHRTYPE, b"")),
        "a web page": b"<html><body>Forbidden</body></html>" * 100, "empty": b"", "cut off": honest[:600],
        "extended header of megabytes": tar(("model.ckpt", regular, b"x"), pax={"comment": "c" * (4 << 20)}),
        "extended header of digits": tar(("model.ckpt", regular, b"x"), pax={"comment": "9" * 15_000}),
        "long name of exabytes": bytes(header[:124]) + b"77777777777\0" + bytes(header[136:]),
    }.items():  # fmt: skip
        yield Case(f"tar: {name}", "tar", ".tar", data, refused=name != "extended header of digits")
        yield Case(
            f"tar.gz: {name}", "tar", ".tar.gz", gzip.compress(data), refused=name != "extended header of digits"
        )


def bombs() -> Iterator[Case]:
    """Files that decompress to far more than they are, and others that take seconds to write or read."""

    def case(name: str, data: bytes, refused: bool = True) -> Case:
        return Case(name, "results", ".pkl", data, refused)

    nobody = {
        k: []
        for k in ("tid", "bbox", "smpl", "camera", "camera_bbox", "3d_joints", "2d_joints", "conf", "tracked_time")
    }
    empty = pickle.dumps(nobody, 3)[2:-1]
    crowd = zlib.compressobj(9)
    frames = b"".join(crowd.compress(text(str(n)) + call_free(pickle.dumps(nobody)) + b"s") for n in range(3))
    flood = (
        crowd.compress(PROTO) + frames + b"".join(crowd.compress((text("a") + empty + b"s") * 1000) for _ in range(200))
    )
    yield case(
        "zlib: the same frame without end",
        zlib.compress(PROTO + b"}" + (text("a") + empty + b"s") * 30_000),
        refused=False,
    )
    yield case("zlib: a broken flood", flood + crowd.flush())
    zeros = bytes(160 << 20)
    nothing = PROTO + b"}" + text("a") + b"N0" * (8 << 20)
    yield case("zlib: many steps", zlib.compress(nothing, 9))
    for name, pack in {"gzip": gzip.compress, "bz2": bz2.compress, "xz": xz}.items():
        bomb = pack(PROTO + b"}" + text("a") + b"B" + struct.pack("<I", len(zeros)) + zeros)
        yield case(f"{name} bomb", bomb)
    yield case("zlib bomb of gigabytes", bomb_of(400 << 20))
    yield case("zlib: lists", zlib.compress(PROTO + b"}" + text("a") + b"](" + b"]" * (4 << 20) + b"es.", 9))
    yield case("a million people", field("tid", b"](" + b"K\x01" * 1_000_000 + b"e"))
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (209715200,), }"
    yield Case("npz bomb", "npz", ".npz", archive({"imgname.npy": npy(header, bytes(200 << 20))}))
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6) as file:
        info = tarfile.TarInfo("model.ckpt")
        info.size = 400 << 20
        file.write(info.tobuf())
        for _ in range(400):
            file.write(bytes(1 << 20))
    entries = tar(*[(str(n), tarfile.REGTYPE, b"") for n in range(12_000)])
    yield Case("tar.gz of many entries", "tar", ".tar.gz", gzip.compress(entries))
    yield Case("tar.gz bomb", "tar", ".tar.gz", packed.getvalue())


def cases(large: bool) -> Iterator[Case]:
    """large: with bombs, and with structures that are large enough to exhaust memory or time."""
    many = 200_000 if large else 3000
    for group in (results, pickles, torch_files):
        yield from group(many)
    for group in (npz_files, text_files, archives, *([bombs] if large else [])):
        yield from group()
