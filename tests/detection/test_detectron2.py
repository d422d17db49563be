"""Our network against detectron2's own, where that is installed, and a clear word where it is not."""

import importlib.util

import numpy as np
import pytest
import torch

from fourd_humans.detection.detectron2 import Detectron2ViTDet, detectron2_detector
from fourd_humans.detection.vitdet.stage import ViTDetDetector
from fourd_humans.errors import UsageError
from fourd_humans.people import Frame

INSTALLED = importlib.util.find_spec("detectron2") is not None


@pytest.mark.skipif(INSTALLED, reason="detectron2 is installed")
def test_without_detectron2(tmp_path):
    with pytest.raises(UsageError, match="'vitdet' is the same network without it"):
        detectron2_detector(tmp_path / "model_final.pkl", "cpu")


def test_without_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURD_HUMANS_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="models download vitdet-h"):
        detectron2_detector(None, "cpu")


@pytest.mark.skipif(not INSTALLED, reason="needs detectron2")
def test_both_networks_find_the_same(small_vitdet, vitdet_sizes, vitdet_reference):
    theirs = Detectron2ViTDet(**vitdet_sizes)
    theirs.model.load_state_dict(small_vitdet.state_dict())
    frame = Frame(0, 0.0, "000000", vitdet_reference["image"])
    options = {"score_threshold": 0.25, "min_width": 0, "min_height": 0, "category": 61}
    found = [ViTDetDetector(model, "cpu", **options)([frame])[0] for model in (small_vitdet, theirs)]
    assert len(found[0]) == len(found[1]) > 10
    best = slice(0, 10)
    np.testing.assert_allclose(found[0].scores[best], found[1].scores[best], atol=1e-3)
    with torch.inference_mode():
        image = torch.from_numpy(vitdet_reference["image"]).permute(2, 0, 1)
        for ours, level in zip(small_vitdet.features([image]), theirs.features([image]), strict=True):
            torch.testing.assert_close(ours, level, atol=1e-4, rtol=1e-4)
