"""State files: what is written comes back, shared where it was shared; nothing but what is allowed is made."""

import json
from collections import deque
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pytest
from safetensors.numpy import save_file

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.state import full_name, load_state, save_state


class Colour(Enum):
    RED = "red"


@dataclass
class Inner:
    values: np.ndarray
    colour: Colour


@dataclass(frozen=True)
class Outer:
    inner: Inner
    also: Inner | None
    things: object


CLASSES = (Colour, Inner, Outer)
COLOUR, INNER, OUTER = map(full_name, CLASSES)


@pytest.fixture
def state():
    inner = Inner(np.arange(6, dtype=np.float32).reshape(2, 3), Colour.RED)
    things = {3: [1, 2.5, None, "x", True], (1, 2): deque([inner], maxlen=4), "empty": np.zeros((0, 4), bool)}
    return {"outer": Outer(inner, inner, things), "number": np.int64(7), "infinite": float("inf"), "set": {1, 2}}


def test_what_is_written_comes_back(tmp_path, state):
    path = tmp_path / "a.state"
    save_state(path, state, CLASSES)
    back = load_state(path, CLASSES)
    assert back["outer"].inner.values.dtype == np.float32
    np.testing.assert_array_equal(back["outer"].inner.values, state["outer"].inner.values)
    assert back["outer"].inner is back["outer"].also is back["outer"].things[1, 2][0], "shared as before"
    assert back["outer"].inner.colour is Colour.RED
    assert back["outer"].things[3] == [1, 2.5, None, "x", True]
    assert back["outer"].things[1, 2].maxlen == 4
    assert back["outer"].things["empty"].shape == (0, 4)
    assert type(back["number"]) is np.int64
    assert back["infinite"] == float("inf")
    assert back["set"] == {1, 2}
    back["outer"].inner.values[0, 0] = 9  # arrays can be written to
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path, state):
    path = tmp_path / "a.state"
    save_state(path, 1, ())
    with pytest.raises(TypeError, match="Outer cannot be written"):
        save_state(path, state, (Inner, Colour))
    assert load_state(path, ()) == 1


@pytest.mark.parametrize("value", [object(), print, np.array(["text"]), np.array([object()])])
def test_only_what_is_known_can_be_written(tmp_path, value):
    with pytest.raises(TypeError, match="cannot be written"):
        save_state(tmp_path / "a.state", [value], CLASSES)


def document(tmp_path, objects, root):
    path = tmp_path / "a.state"
    save_file({"0": np.zeros(3)}, path, metadata={"state": json.dumps({"objects": objects, "root": root})})
    return path


@pytest.mark.parametrize(
    ("objects", "root"),
    [
        ([["Popen", {"args": "x"}]], ["object", 0]),  # a class that is not allowed
        ([[INNER, {"values": 1}]], ["object", 0]),  # another version of a class
        ([[INNER, {"values": 1, "colour": 1, "__class__": 1}]], ["object", 0]),
        ([[COLOUR, {}]], ["object", 0]),
        ([[OUTER, {"inner": ["object", 1], "also": None, "things": None}]], ["object", 0]),  # what comes later
        ([], ["object", -1]),
        ([], ["array", 1]),
        ([], ["enum", INNER, 1]),
        ([], ["enum", COLOUR, "blue"]),
        ([], ["deque", -3, []]),
        ([], ["eval", "1"]),
        ([], {"a": 1}),
        ([], []),
    ],
)
def test_anything_else_is_refused(tmp_path, objects, root):
    path = document(tmp_path, objects, root)
    with pytest.raises(FourDHumansError, match=r"a\.state is damaged"):
        load_state(path, CLASSES)


def test_damage_is_reported(tmp_path, state):
    path = tmp_path / "a.state"
    save_state(path, state, CLASSES)
    whole = path.read_bytes()
    for length in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FourDHumansError, match=r"a\.state"):
            load_state(path, CLASSES)
    with pytest.raises(FourDHumansError, match="nowhere"):
        load_state(tmp_path / "nowhere", CLASSES)
