"""Weights in all their formats, and files that are not what they say."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fourd_humans.checkpoints.loading import load_state_dict, load_strictly
from fourd_humans.errors import FourDHumansError

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(4.0), "steps": torch.tensor([7])}


def detectron2_pickle(path, protocol):
    arrays = {name: tensor.numpy() for name, tensor in WEIGHTS.items()}
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "somebody"}, protocol=protocol))


WRITERS = {
    "plain.pth": lambda path: torch.save(WEIGHTS, path),
    "model.pth": lambda path: torch.save({"model": WEIGHTS, "epoch": 3}, path),
    "old.pth": lambda path: torch.save({"model": WEIGHTS}, path, _use_new_zipfile_serialization=False),
    "lightning.ckpt": lambda path: torch.save({"state_dict": WEIGHTS, "loops": {"fit": [1, None]}}, path),
    "zip.pkl": lambda path: torch.save(WEIGHTS, path),
    "protocol2.pkl": lambda path: detectron2_pickle(path, 2),
    "protocol4.pkl": lambda path: detectron2_pickle(path, 4),
    "named.safetensors": lambda path: save_file(WEIGHTS, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_understands(tmp_path, name):
    WRITERS[name](tmp_path / name)
    loaded = load_state_dict(tmp_path / name)
    assert loaded.keys() == WEIGHTS.keys()
    for key, expected in WEIGHTS.items():
        assert torch.equal(loaded[key], expected)


@pytest.mark.parametrize("name", WRITERS)
def test_refuses_what_is_cut_short(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    for length in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FourDHumansError, match=r"cannot read|refused") as caught:
            load_state_dict(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


class Calls:
    """An object whose unpickling calls `function`."""

    def __init__(self, function, *arguments):
        self.answer = function, arguments

    def __reduce__(self):
        return self.answer


class LooksLikeNumpy:
    """Unpickled with a name in a module that begins as numpy's does."""

    def __reduce__(self):
        return np.testing.measure, ("open('ran', 'w')",)


HOSTILE = {
    "system": Calls(os.system, "touch ran"),
    "eval": Calls(eval, "open('ran', 'w')"),
    "nested": Calls(list, (Calls(eval, "open('ran', 'w')"),)),
    "numpy": LooksLikeNumpy(),
    "getattr": Calls(getattr, os, "system"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("suffix", ["ckpt", "pkl"])
def test_runs_nothing(tmp_path, monkeypatch, kind, suffix):
    monkeypatch.chdir(tmp_path)
    if kind == "getattr":  # modules cannot be pickled: written by hand
        content = b"\x80\x02cbuiltins\ngetattr\ncos\nsystem\n\x86R."
    else:
        content = pickle.dumps({"model": {"a": HOSTILE[kind]}}, protocol=2)
    Path(f"evil.{suffix}").write_bytes(content)
    with pytest.raises(FourDHumansError, match=f"evil.{suffix} refused: it asks for"):
        load_state_dict(f"evil.{suffix}")
    assert not Path("ran").exists()


def test_runs_nothing_in_pytorchs_own_format(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": HOSTILE["system"]}}, "evil.ckpt")
    with pytest.raises(FourDHumansError, match=r"evil.ckpt refused: it asks for '\w+.system'.*nothing was run"):
        load_state_dict("evil.ckpt")
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [{}, [1, 2], {"state_dict": {}}, "text"])
def test_refuses_what_holds_no_weights(tmp_path, content):
    torch.save(content, tmp_path / "empty.pth")
    with pytest.raises(FourDHumansError, match="holds no named weights"):
        load_state_dict(tmp_path / "empty.pth")


def test_refuses_entries_that_are_not_numbers(tmp_path):
    torch.save({"a": torch.ones(2), "b": "text"}, tmp_path / "odd.pth")
    with pytest.raises(FourDHumansError, match="'b' is a str"):
        load_state_dict(tmp_path / "odd.pth")


QUANTISED = torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)
UNUSUAL = {
    "complex": torch.ones(2, dtype=torch.complex64),
    "quantised": QUANTISED,
    "sparse": torch.eye(3).to_sparse(),
    "meta": torch.empty(3, device="meta"),
}


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.parametrize("new_format", [True, False])
def test_tensors_that_are_no_plain_numbers_are_refused_by_name(tmp_path, kind, new_format):
    torch.save({"a": UNUSUAL[kind]}, tmp_path / "odd.pth", _use_new_zipfile_serialization=new_format)
    with pytest.raises(FourDHumansError, match=rf"odd\.pth refused: .*{kind}") as caught:
        load_state_dict(tmp_path / "odd.pth")
    assert "\n" not in str(caught.value)


def test_strided_and_shared_tensors(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    weights = {"turned": whole.T, "part": whole[1:, 2:], "empty": torch.zeros(0, 3), "yes": torch.tensor([True, False])}
    for name, new_format in (("new.pth", True), ("old.pth", False)):
        torch.save(weights, tmp_path / name, _use_new_zipfile_serialization=new_format)
        loaded = load_state_dict(tmp_path / name)
        assert all(torch.equal(loaded[key], weights[key]) for key in weights)
        loaded["part"][0, 0] = -1  # a copy of the file's page, not the file
        assert load_state_dict(tmp_path / name)["part"][0, 0] == 6


def test_says_where_nothing_is(tmp_path):
    with pytest.raises(FourDHumansError, match=r"no checkpoint at .*nowhere\.ckpt"):
        load_state_dict(tmp_path / "nowhere.ckpt")


def test_fills_a_model_and_keeps_its_precision():
    weights = {"weight": torch.ones(2, 3, dtype=torch.float16), "bias": torch.zeros(2)}
    model = torch.nn.Linear(3, 2)
    load_strictly(model, weights, "file")
    assert model.weight.dtype == torch.float32
    assert model.weight.requires_grad
    assert model(torch.ones(3)).tolist() == [3, 3]


def test_a_model_on_meta_takes_the_tensors_as_they_are():
    weights = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    with torch.device("meta"):
        model = torch.nn.Linear(3, 2)
    load_strictly(model, weights, "file")
    assert model.weight.data_ptr() == weights["weight"].data_ptr()
    assert model.weight.requires_grad


def test_names_the_first_differences():
    weights = {"weight": torch.ones(3, 3), "a": torch.ones(1), "b": torch.ones(1)}
    with pytest.raises(FourDHumansError) as caught:
        load_strictly(torch.nn.Linear(3, 2), weights, "some.pth")
    assert str(caught.value) == "some.pth does not fit Linear: no 'bias'; unknown 'a'; unknown 'b' and 1 more"
    with pytest.raises(FourDHumansError, match=r"'weight' is \(3, 3\), not \(2, 3\)$"):
        load_strictly(torch.nn.Linear(3, 2), {"weight": torch.ones(3, 3), "bias": torch.ones(2)}, "some.pth")
