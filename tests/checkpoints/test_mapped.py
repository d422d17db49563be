"""The fast copy of files that cannot be mapped."""

import logging
import pickle

import numpy as np
import pytest
import torch

from fourd_humans.checkpoints import mapped
from fourd_humans.checkpoints.mapped import copy_of, load_mapped


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURD_HUMANS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def write(tmp_path):
    def write(value):
        path = tmp_path / "model_final.pkl"
        path.write_bytes(pickle.dumps({"model": {"a": np.full((2, 2), value, np.float32)}}))
        return path

    return write


def test_the_second_time_the_copy_is_read(write, monkeypatch):
    path = write(1.0)
    first = load_mapped(path)
    assert copy_of(path).is_file()
    monkeypatch.setattr(mapped, "load_state_dict", lambda path: pytest.fail("the original was read again"))
    assert torch.equal(load_mapped(path)["a"], first["a"])


def test_the_copy_follows_its_source(write):
    load_mapped(write(1.0))
    changed = load_mapped(write(2.0))
    assert changed["a"].tolist() == [[2, 2], [2, 2]]
    assert load_mapped(write(2.0))["a"].tolist() == [[2, 2], [2, 2]]


def test_a_damaged_copy_is_made_again(write):
    path = write(1.0)
    load_mapped(path)
    size = copy_of(path).stat().st_size
    copy_of(path).write_bytes(copy_of(path).read_bytes()[:20])
    assert load_mapped(path)["a"].tolist() == [[1, 1], [1, 1]]
    assert copy_of(path).stat().st_size == size


def test_without_a_place_for_the_copy_it_still_loads(write, home, caplog):
    home.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert load_mapped(write(1.0))["a"].tolist() == [[1, 1], [1, 1]]
    assert "no fast copy could be kept" in caplog.text


def test_what_can_be_mapped_is_not_copied(tmp_path, home):
    torch.save({"a": torch.ones(2)}, tmp_path / "model.ckpt")
    assert load_mapped(tmp_path / "model.ckpt")["a"].tolist() == [1, 1]
    assert not home.exists()
