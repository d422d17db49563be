"""The ViTDet stage: frames of any size in, people out, whatever happens on the way."""

import copy
import dataclasses
import logging
import pickle

import numpy as np
import pytest
import torch
from gpu_waits import waits_for_the_gpu

from fourd_humans.checkpoints.loading import load_state_dict, load_strictly
from fourd_humans.detection.vitdet import stage
from fourd_humans.detection.vitdet.model import Instances, vitdet_h
from fourd_humans.detection.vitdet.stage import ViTDetDetector, resize
from fourd_humans.devices import float32_convolutions
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.people import Frame

CATEGORY = 61  # which the small model's random weights see everywhere


def frame(image: np.ndarray, index: int = 0) -> Frame:
    return Frame(index, index / 25, f"{index:06d}", image)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def detector(small_vitdet):
    return ViTDetDetector(
        small_vitdet, "cpu", score_threshold=0.3, min_width=0, min_height=0, category=CATEGORY, image_size=256
    )


def write_detectron2_checkpoint(model: torch.nn.Module, path, **changes) -> None:
    weights = {name: value.numpy() for name, value in model.state_dict().items()} | changes
    path.write_bytes(pickle.dumps({"model": weights, "__author__": "somebody"}, protocol=2))


def test_detectron2_checkpoint_loads_strictly(small_vitdet, tmp_path):
    path = tmp_path / "model_final.pkl"
    write_detectron2_checkpoint(small_vitdet, path)
    with torch.device("meta"):
        model = copy.deepcopy(small_vitdet).to("meta")
    load_strictly(model, load_state_dict(path), path)
    for name, value in small_vitdet.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)


def test_a_checkpoint_of_another_network_is_refused(small_vitdet, tmp_path, monkeypatch):
    monkeypatch.setenv("FOURD_HUMANS_HOME", str(tmp_path))
    path = tmp_path / "other.pkl"
    write_detectron2_checkpoint(small_vitdet, path, surplus=np.zeros(3, np.float32))
    with pytest.raises(FourDHumansError, match=r"other\.pkl does not fit ViTDet") as caught:
        ViTDetDetector.from_checkpoint(path, "cpu")
    assert "\n" not in str(caught.value)


def test_missing_weights_are_said_with_the_way_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURD_HUMANS_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="4dhumans models download vitdet-h"):
        ViTDetDetector.from_checkpoint(None, "cpu")


def test_the_picture_of_the_reference(detector, vitdet_reference):
    """The frame is larger than what the network sees; boxes and masks are in the frame's pixels."""
    image = vitdet_reference["image"].repeat(2, 0).repeat(2, 1)
    (found,) = detector([frame(image)])
    assert len(found) > 10
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores[-1] >= 0.3
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [480, 400, 480, 400]).all()
    assert found.boxes[:, 2].max() > 300
    for mask, (x1, y1, x2, y2) in zip(found.masks, found.boxes, strict=True):
        assert mask.size == (400, 480)
        h, w = mask.pixels.shape
        assert not h or (
            x1 - 1 <= mask.left and mask.left + w <= x2 + 1 and y1 - 1 <= mask.top and mask.top + h <= y2 + 1
        )
    assert all(0.15 <= person.score < 0.3 and person.reason == "score below 0.3" for person in found.rejected)


def test_small_people_are_dropped_with_the_reason(small_vitdet, detector, vitdet_reference):
    strict = ViTDetDetector(
        small_vitdet, "cpu", score_threshold=0.3, min_width=20, min_height=10, category=CATEGORY, image_size=256
    )
    picture = frame(vitdet_reference["image"])
    (everybody,), (found,) = detector([picture]), strict([picture])
    size = everybody.boxes[:, 2:] - everybody.boxes[:, :2]
    large = (size[:, 0] >= 20) & (size[:, 1] >= 10)
    assert 0 < large.sum() < len(everybody)
    np.testing.assert_allclose(found.boxes, everybody.boxes[large])
    assert len(found.masks) == large.sum()
    small = [person for person in found.rejected if person.reason == "smaller than 20x10 pixels"]
    assert len(small) == (~large).sum()


def test_a_frame_without_people(small_vitdet):
    (found,) = ViTDetDetector(small_vitdet, "cpu", score_threshold=0.999)([frame(noise(90, 120))])
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)
    assert found.masks == []
    assert found.rejected == []


def test_frames_of_any_size_in_one_batch(detector):
    sizes = [(1, 1), (37, 500), (500, 37), (2, 900), (256, 256), (301, 299)]
    found = detector([frame(noise(*size), i) for i, size in enumerate(sizes)])
    assert len(found) == len(sizes)
    for (height, width), people in zip(sizes, found, strict=True):
        assert (people.boxes <= [width, height, width, height]).all()
        assert all(mask.size == (height, width) for mask in people.masks)


def test_three_hundred_people(detector, monkeypatch):
    corners = np.random.default_rng(0).uniform(0, 200, (300, 2)).astype(np.float32)
    boxes = torch.from_numpy(np.concatenate([corners, corners + 20], 1))
    crowd = Instances(
        boxes[None],
        torch.linspace(0.99, 0.5, 300)[None],
        torch.full((1, 300), CATEGORY),
        torch.ones(1, dtype=torch.bool),
    )
    monkeypatch.setattr(detector.model, "detect", lambda *args, **options: crowd)
    (found,) = detector([frame(noise(512, 512))])
    assert len(found) == len(found.masks) == 300


def test_masks_of_a_crowd_are_those_of_its_people_one_by_one(detector, monkeypatch, vitdet_reference):
    """More people than have their masks computed at once."""
    picture = frame(vitdet_reference["image"])
    (together,) = detector([picture])
    monkeypatch.setattr(stage, "MASKS", 3)
    (in_parts,) = detector([picture])
    pairs = [(one.full(), other.full()) for one, other in zip(together.masks, in_parts.masks, strict=True)]
    assert sum(one.any() for one, _ in pairs) > 10
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)


def test_a_shared_copy_of_the_picture_is_used(detector, vitdet_reference):
    picture = frame(vitdet_reference["image"])
    black = dataclasses.replace(picture, image=np.zeros_like(picture.image))
    shared = dataclasses.replace(black, pixels=torch.from_numpy(picture.image))
    (expected,), (found,) = detector([picture]), detector([shared])
    np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_suppression_that_is_not_certain_is_repeated_with_more_rounds(detector, vitdet_reference):
    picture = frame(vitdet_reference["image"])
    (expected,) = detector([picture])
    detector._rounds = 1
    (found,) = detector([picture])
    assert detector._rounds > 1
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.scores, expected.scores)


def fail_above(detector, monkeypatch, limit: int) -> list[int]:
    """Let the network run out of memory for more than `limit` pictures; returns where the batches are noted."""
    tried, features = [], detector.model.features

    def limited(images, size):
        tried.append(len(images))
        if len(images) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return features(images, size)

    monkeypatch.setattr(detector.model, "features", limited)
    return tried


def test_the_batch_is_halved_when_memory_runs_out(detector, monkeypatch, caplog):
    detector.image_size = 64
    frames = [frame(noise(60, 80), i) for i in range(5)]
    expected = detector(frames)
    tried = fail_above(detector, monkeypatch, 1)
    with caplog.at_level(logging.WARNING):
        found = detector(frames)
    assert tried == [4, 2, 1, 1, 1, 1, 1]
    assert [len(people) for people in found] == [len(people) for people in expected]
    assert "1 frames at once" in caplog.text
    detector(frames)
    assert tried[7:] == [1] * 5  # what was learnt is kept


def test_memory_that_does_not_hold_one_frame_is_said(detector, monkeypatch):
    fail_above(detector, monkeypatch, 0)
    with pytest.raises(FourDHumansError, match=r"even one of the frames: try .*detection\.image_size"):
        detector([frame(noise(60, 80))])


@pytest.mark.parametrize("options", [{"image_size": 1000}, {"image_size": 0}, {"category": 80}, {"category": -1}])
def test_settings_that_cannot_be(small_vitdet, options):
    with pytest.raises(UsageError, match=f"detection.{next(iter(options))}"):
        ViTDetDetector(small_vitdet, "cpu", **options)


def test_other_sizes_than_the_trained_one(small_vitdet):
    detector = ViTDetDetector(small_vitdet, "cpu", score_threshold=0.1, image_size=160, category=CATEGORY)
    (found,) = detector([frame(noise(300, 400))])
    assert (found.boxes <= [400, 300, 400, 300]).all()


def test_resizing_is_the_one_of_training():
    image_module = pytest.importorskip("PIL.Image")
    image = noise(90, 160)
    image[20:60, 30:90] = 255
    for longer, size in ((64, (64, 36)), (400, (400, 225))):
        expected = np.asarray(image_module.fromarray(image).resize(size, image_module.BILINEAR)).astype(int)
        ours = resize(torch.from_numpy(image), longer).permute(1, 2, 0).numpy()
        assert ours.shape == expected.shape
        assert np.abs(ours - expected).max() <= 1


def test_a_frame_that_cannot_be_written_to(detector):
    image = noise(64, 64)
    image.setflags(write=False)
    detector([frame(image)])


@pytest.mark.slow
def test_compiled_backbone_finds_the_same(small_vitdet, detector, vitdet_reference):
    compiled = ViTDetDetector(
        copy.deepcopy(small_vitdet),
        "cpu",
        score_threshold=0.3,
        min_width=0,
        min_height=0,
        category=CATEGORY,
        compile=True,
    )
    picture = frame(vitdet_reference["image"])
    (expected,), (found,) = detector([picture]), compiled([picture])
    np.testing.assert_allclose(found.scores[:10], expected.scores[:10], atol=1e-3)


@pytest.mark.slow
def test_the_full_size_checkpoint(tmp_path, monkeypatch):
    """2.8 GB in detectron2's layout, with small random weights, loaded and run on a small picture."""
    monkeypatch.setenv("FOURD_HUMANS_HOME", str(tmp_path))
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in vitdet_h().state_dict().items()}
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal(shape, dtype=np.float32) * 0.01 for name, shape in shapes.items()}
    with (tmp_path / "model_final.pkl").open("wb") as file:
        pickle.dump({"model": weights, "__author__": "somebody"}, file, protocol=4)
    del weights
    detector = ViTDetDetector.from_checkpoint(tmp_path / "model_final.pkl", "cpu", image_size=128, score_threshold=0)
    (found,) = detector([frame(noise(72, 128))])
    assert np.isfinite(found.boxes).all()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_on_a_gpu(small_vitdet, detector, vitdet_reference, precision):
    on_gpu = ViTDetDetector(
        copy.deepcopy(small_vitdet),
        "cuda",
        score_threshold=0.3,
        min_width=0,
        min_height=0,
        category=CATEGORY,
        precision=precision,
    )
    picture = frame(vitdet_reference["image"])
    (expected,), (found,) = detector([picture]), on_gpu([picture])
    tolerance = 1e-2 if precision == "float32" else 0.1
    np.testing.assert_allclose(found.scores[:10], expected.scores[:10], atol=tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_nothing_waits_for_the_gpu_before_the_end(small_vitdet, vitdet_reference, precision):
    """Only the stage itself does, for the copy of its results."""
    on_gpu = ViTDetDetector(
        copy.deepcopy(small_vitdet), "cuda", score_threshold=0.3, min_width=0, min_height=0, category=CATEGORY,
        image_size=256, precision=precision,
    )  # fmt: skip
    pictures = [frame(vitdet_reference["image"], i) for i in range(3)]
    expected = on_gpu(pictures)  # which also sets up cuDNN and cuBLAS
    found, waits = waits_for_the_gpu(lambda: on_gpu(pictures))
    assert waits <= 1
    assert [len(people) for people in found] == [len(people) for people in expected]


@pytest.mark.gpu
def test_the_reference_on_a_gpu_in_float32(small_vitdet, detector, vitdet_reference):
    """No TF32 anywhere: the features agree with the CPU's as float32 does."""
    image = torch.from_numpy(vitdet_reference["image"]).permute(2, 0, 1)
    on_gpu = copy.deepcopy(small_vitdet).to("cuda")
    with torch.inference_mode(), float32_convolutions():
        for ours, theirs in zip(on_gpu.features([image.cuda()]), small_vitdet.features([image]), strict=True):
            assert (ours.cpu() - theirs).abs().max() <= 1e-4 * theirs.abs().max()
