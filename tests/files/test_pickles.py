"""Pickles of arrays are read without running anything that is in them."""

import os
import pickle
import sys

import numpy as np
import pytest
from python2_pickles import Ch, MatVecMult, Select, dumps
from scipy.sparse import csc_matrix

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.pickles import Node, as_array, read_pickle


@pytest.fixture
def read(tmp_path):
    def read_bytes(data):
        path = tmp_path / "file.pkl"
        path.write_bytes(data)
        return read_pickle(path)

    return read_bytes


ARRAYS = {
    "float64": np.random.default_rng(0).standard_normal((4, 3, 2)),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "big_endian": np.arange(5, dtype=">i4"),
    "uint32": np.array([[2**32 - 1, 0]], dtype=np.uint32),
}


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize("name", ARRAYS)
def test_python_2_arrays(read, protocol, name):
    loaded = read(dumps({"a": ARRAYS[name]}, protocol))["a"]
    np.testing.assert_array_equal(loaded, ARRAYS[name])


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ARRAYS)
def test_python_3_arrays(read, protocol, name):
    loaded = read(pickle.dumps([ARRAYS[name], np.float64(2.5)], protocol))
    np.testing.assert_array_equal(loaded[0], ARRAYS[name])
    assert loaded[1] == 2.5


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_chumpy_and_scipy_objects(read, protocol):
    a = ARRAYS["float64"]
    sparse = csc_matrix(np.array([[0, 2.0, 0], [1, 0, 3]]))
    data = dumps({"plain": Ch(a), "chosen": Select(Ch(a), np.arange(1, 24, 2), (4, 3, 1)), "sparse": sparse}, protocol)
    assert (b"copy_reg\n_reconstructor" in data) == (protocol < 2)  # the two ways in which objects are written
    loaded = read(data)
    np.testing.assert_array_equal(as_array(loaded["plain"]), a)
    np.testing.assert_array_equal(as_array(loaded["chosen"]), a[..., 1:])
    np.testing.assert_array_equal(as_array(loaded["sparse"]), sparse.toarray())
    assert "chumpy" not in sys.modules


def test_unfinished_computation_is_kept_but_is_no_array(read):
    loaded = read(dumps({"J": MatVecMult(Ch(np.eye(2)), Ch(np.ones(2)))}))
    assert isinstance(loaded["J"], Node)
    with pytest.raises(ValueError, match=r"chumpy\.ch_ops\.MatVecMult"):
        as_array(loaded["J"])


def test_sparse_matrix_with_indices_out_of_range_is_no_array(read):
    sparse = csc_matrix(np.eye(3))
    sparse.indices[1] = 10**6
    with pytest.raises(ValueError, match="indices"):
        as_array(read(dumps(sparse)))


class Calls:
    """Pickled as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def global_call(module, name, *arguments, protocol=4):
    """A pickle that calls something by name, which the pickle module itself would not write."""
    pushed = b"".join(pickle.dumps(a, 2)[2:-1] for a in arguments)
    if protocol < 4:
        return b"c" + f"{module}\n{name}\n".encode() + b"(" + pushed + b"tR."
    named = b"".join(b"\x8c" + bytes([len(n)]) + n.encode() for n in (module, name))
    return b"\x80\x04" + named + b"\x93(" + pushed + b"tR."


COMMAND = "touch witness"
WRITE = "open('witness', 'w').close()"
MALICIOUS = {
    "os.system": pickle.dumps(Calls(os.system, COMMAND)),
    "os.system in protocol 0": pickle.dumps(Calls(os.system, COMMAND), 0),
    "os.system by its Python 2 opcode": f"(S'{COMMAND}'\nios\nsystem\n.".encode(),
    "eval": pickle.dumps({"v_template": Calls(eval, WRITE)}, 2),
    "exec of Python 2": global_call("__builtin__", "execfile", "witness.py", protocol=2),
    "getattr": pickle.dumps(Calls(getattr, np.zeros(1), "tofile")),
    "__import__": global_call("builtins", "__import__", "os"),
    "a call inside an array's state": dumps(Ch(Calls(os.system, COMMAND))),
    "a call inside the arguments of a call": pickle.dumps(
        Calls(np.dtype, Calls(os.popen, COMMAND), False, True), 2
    ),
    "a numpy function that is not on the list": global_call("numpy", "fromfile", "/etc/hostname"),
    "numpy's own loader": global_call("numpy", "load", "witness.npy"),
    "a numpy module that runs strings": global_call("numpy.testing._private.utils", "runstring", WRITE, {}),
    "an attribute of a listed class": global_call("numpy", "ndarray.tofile", "witness"),
    "a way out of a listed function": global_call("numpy.core.multiarray", "_reconstruct.__globals__"),
    "something in chumpy's name": global_call("chumpy.ch", "os.system", COMMAND),
    "something like scipy's name": global_call("scipy.sparse.csc.os", "system", COMMAND),
    "scipy's loader": global_call("scipy.sparse", "load_npz", "witness.npz"),
}  # fmt: skip
BROKEN = {
    "a type name that numpy would parse": global_call("numpy", "dtype", "(2,3)f8, O"),
    "an object of no kind": global_call("copy_reg", "_reconstructor", 1, 2, 3, protocol=2),
    "something outside the file": b"Pwitness\n.",
}  # fmt: skip


@pytest.mark.parametrize("name", [*MALICIOUS, *BROKEN])
def test_malicious_pickles_are_refused_unrun(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "smpl.pkl"
    path.write_bytes({**MALICIOUS, **BROKEN}[name])
    with pytest.raises(FourDHumansError) as refusal:
        read_pickle(path)
    message = str(refusal.value)
    assert str(path) in message
    assert "\n" not in message
    assert ("nothing was run" in message) == (name in MALICIOUS)
    assert [p.name for p in tmp_path.iterdir()] == ["smpl.pkl"]


def test_the_refusal_names_what_was_asked_for(read):
    with pytest.raises(FourDHumansError, match=r"asks for '(posix|nt)\.system'.*nothing was run"):
        read(MALICIOUS["os.system"])


def test_these_pickles_do_run_when_trusted(tmp_path, monkeypatch):
    """The tests above mean something only if the pickles are live."""
    monkeypatch.chdir(tmp_path)
    for name in ("os.system", "os.system in protocol 0", "os.system by its Python 2 opcode", "eval"):
        pickle.loads(MALICIOUS[name])
        (tmp_path / "witness").unlink()


def test_a_pickle_cannot_change_what_outlives_it(read):
    """State set on a type, on numpy's shared type objects or on a function must not be seen afterwards."""
    swapped = global_call("numpy", "dtype", "f8", protocol=2)[:-1] + b"(I3\nS'>'\nNNNI-1\nI-1\nI0\ntb."
    read(swapped)
    assert np.dtype("f8").isnative
    state = pickle.dumps((None, {"kind": "changed", "__defaults__": (1,)}), 2)[2:-1]
    for target in (b"cnumpy.core.multiarray\n_reconstruct\n", b"cchumpy.ch\nCh\n", b"cnumpy\nndarray\n"):
        try:
            read(target + state + b"b.")
        except FourDHumansError:
            continue
    assert not hasattr(Node, "kind")
    np.testing.assert_array_equal(as_array(read(dumps(Ch(np.arange(3))))), np.arange(3))


@pytest.mark.parametrize("data", [b"", b"not a pickle", dumps(Ch(np.arange(100)))[:150], b"\x80\x02]q\x00"])
def test_damaged_pickles(read, data):
    with pytest.raises(FourDHumansError, match=r"cannot read .*file\.pkl"):
        read(data)


def test_missing_file(tmp_path):
    with pytest.raises(FourDHumansError, match=r"cannot read .*none\.pkl"):
        read_pickle(tmp_path / "none.pkl")
