"""Pickles from anywhere are read, and none of them can do anything."""

import pickle
import zlib

import joblib
import numpy as np
import pytest

from fourd_humans.files.arrays import RefusedError
from fourd_humans.results.stream import DictWriter, read_dict


@pytest.fixture
def entries():
    shared = np.arange(6, dtype=np.float32).reshape(2, 3)
    return {
        f"frame {i}": {
            "number": i,
            "text": "ä\n",
            "none": None,
            "tuple": (1, 2.5, True),
            "arrays": [shared, shared * i, np.zeros((0, 4)), np.array(3.0), np.asfortranarray(shared.astype(">f8"))],
            "bytes": b"\x00\xff",
            "scalar": np.float32(1.5),
            "same": shared,
        }
        for i in range(3)
    }


def assert_equal(one, other):
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
        assert one.shape == other.shape
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other


@pytest.mark.parametrize("compress", [0, 3, ("zlib", 9), ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)])
def test_files_of_joblib(tmp_path, entries, compress):
    joblib.dump(entries, tmp_path / "a.pkl", compress=compress)
    found, complete = read_dict(tmp_path / "a.pkl")
    assert complete
    assert_equal(found, entries)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_files_of_pickle(tmp_path, entries, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(entries, protocol))
    found, complete = read_dict(tmp_path / "a.pkl")
    assert complete
    assert_equal(found, entries)


def test_arrays_of_objects(tmp_path):
    objects = np.array([None, "text", 3], dtype=object)
    joblib.dump({"a": objects, "b": np.ones(3)}, tmp_path / "a.pkl", compress=3)
    found, _ = read_dict(tmp_path / "a.pkl")
    assert found["a"].tolist() == [None, "text", 3]
    assert found["b"].tolist() == [1, 1, 1]


def test_files_of_our_own(tmp_path, entries):
    for entry in entries.values():
        del entry["scalar"]
    with open(tmp_path / "a.pkl", "wb", buffering=0) as file:
        writer = DictWriter(file)
        for key, value in entries.items():
            writer.set(key, value)
        writer.finish()
    found, complete = read_dict(tmp_path / "a.pkl")
    assert complete
    assert_equal(found, entries)
    assert_equal(joblib.load(tmp_path / "a.pkl"), entries)
    assert_equal(pickle.loads(zlib.decompress((tmp_path / "a.pkl").read_bytes())), entries)
    assert found["frame 1"]["arrays"][0].flags.writeable


def test_arrays_of_objects_are_not_written(tmp_path):
    with open(tmp_path / "a.pkl", "wb", buffering=0) as file, pytest.raises(pickle.PicklingError):
        DictWriter(file).set("a", np.array([None]))


class Attack:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def attacks(marker):
    import builtins
    import os

    command = f"touch {marker}"
    yield Attack(os.system, (command,))
    yield Attack(builtins.eval, (f"open({str(marker)!r}, 'w')",))
    yield Attack(builtins.getattr, (Attack(__import__, ("os",)), "system"))
    yield Attack(np.load, (str(marker),))
    yield Attack(joblib.load, (str(marker),))
    yield Attack(np.ndarray, ((2,), "O", bytearray(range(16))))  # an array of made-up addresses
    yield Attack(bytearray, (1 << 40,))
    yield np.array([Attack(os.system, (command,))], dtype=object)
    yield Attack(type, ("Name", (), {}))


@pytest.mark.parametrize("number", range(9))
@pytest.mark.parametrize("dump", [
    lambda value, path: path.write_bytes(pickle.dumps(value)),
    lambda value, path: path.write_bytes(zlib.compress(pickle.dumps(value, 2))),
    lambda value, path: joblib.dump(value, path, compress=3),
    lambda value, path: joblib.dump({"array first": np.ones(3), **value}, path),
])  # fmt: skip
def test_whatever_else_a_pickle_asks_for_is_refused_and_not_run(tmp_path, number, dump):
    marker = tmp_path / "attacked"
    attack = list(attacks(marker))[number]
    dump({"good": {"tid": []}, "bad": attack}, tmp_path / "a.pkl")
    with pytest.raises(RefusedError):
        read_dict(tmp_path / "a.pkl")
    assert not marker.exists()


@pytest.mark.parametrize("target", [b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"]", b"cbuiltins\nset\n)R"])
def test_states_are_set_on_nothing_but_arrays(tmp_path, target):
    """A pickle may set attributes of what it is given, such as the function that makes arrays."""
    (tmp_path / "a.pkl").write_bytes(b"\x80\x03}X\x01\x00\x00\x00a" + target + b"}X\x01\x00\x00\x00bK\x01sbs.")
    with pytest.raises(RefusedError, match="the state of"):
        read_dict(tmp_path / "a.pkl")
    assert not hasattr(np.ndarray, "b")


def test_a_length_that_lies_asks_for_no_memory(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04}X\x01\x00\x00\x00aK\x01sX\x01\x00\x00\x00b\x8e" + b"\xff" * 7 + b"\x00")
    assert read_dict(tmp_path / "a.pkl") == ({"a": 1}, False)


def test_the_file_is_whole_after_every_item(tmp_path, entries):
    path = tmp_path / "a.pkl"
    with path.open("wb", buffering=0) as file:
        writer = DictWriter(file)
        assert joblib.load(path) == {}
        for count, (key, value) in enumerate(entries.items(), start=1):
            writer.set(key, value)
            for found in (joblib.load(path), read_dict(path)[0]):
                assert_equal(found, dict(list(entries.items())[:count]))


@pytest.mark.parametrize("marked", [0, 1, 3])
def test_another_writer_goes_on_from_a_mark(tmp_path, entries, marked):
    path = tmp_path / "a.pkl"
    items = list(entries.items())
    with path.open("wb", buffering=0) as file:
        writer = DictWriter(file)
        for key, value in items[:marked]:
            writer.set(key, value)
        mark = writer.mark()
        writer.set("lost", np.random.default_rng(0).random(10_000))
    with path.open("r+b", buffering=0) as file:
        writer = DictWriter(file, mark)
        assert_equal(joblib.load(path), dict(items[:marked]))
        for key, value in items[marked:]:
            writer.set(key, value)
        writer.finish()
    assert_equal(joblib.load(path), entries)
    assert_equal(pickle.loads(zlib.decompress(path.read_bytes())), entries)
