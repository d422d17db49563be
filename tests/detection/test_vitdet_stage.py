"""The ViTDet stage: frames of any size in, people out, whatever happens on the way."""

import copy
import dataclasses
import logging
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from fake_gpu import fake_gpu
from gpu_waits import waits_for_the_gpu

from fourd_humans.checkpoints.loading import load_state_dict, load_strictly
from fourd_humans.detection.vitdet import stage
from fourd_humans.detection.vitdet.model import Instances, vitdet_h
from fourd_humans.detection.vitdet.stage import ViTDetDetector, resize
from fourd_humans.devices import float32_convolutions, upload_images
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


def test_the_backbone_is_compiled_once_for_all_batches(small_vitdet, monkeypatch):
    """Of fewer frames than a batch has, and of frames of another size."""
    graphs = []
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=lambda graph, _: graphs.append(0) or graph))
    detector = ViTDetDetector(copy.deepcopy(small_vitdet), "cpu", batch_size=2, image_size=64, compile=True)
    detector([frame(noise(60, 80), i) for i in range(3)])
    detector([frame(noise(90, 50))])
    assert len(graphs) == 1


@pytest.mark.slow
def test_without_a_compiler_the_detector_finds_the_same(small_vitdet, vitdet_reference, caplog):
    from torch._inductor.utils import fresh_cache  # takes a second

    detector, compiled = (
        ViTDetDetector(
            copy.deepcopy(small_vitdet), "cpu", score_threshold=0.3, category=CATEGORY, batch_size=1, compile=compile
        )
        for compile in (False, True)
    )
    picture = frame(vitdet_reference["image"])
    with torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")}), fresh_cache():
        (found,), (again,) = compiled([picture]), compiled([picture])
    (expected,) = detector([picture])
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(again.boxes, expected.boxes)
    assert sum("torch.compile fails here and is left out" in line for line in caplog.text.splitlines()) == 1


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


@pytest.mark.parametrize(("precision", "head_precision"), [("auto", "float32"), ("float32", "float16")])
def test_nothing_waits_for_a_fake_gpu_before_the_end(small_vitdet, precision, head_precision):
    """Nor does anything mix devices; and the pictures are those that are there already."""
    model = copy.deepcopy(small_vitdet)
    pictures = [frame(noise(90, 120 + i), i) for i in range(2)]
    with fake_gpu() as gpu:
        copies = upload_images([picture.image for picture in pictures], torch.device("cuda"), wait=True)
        assert gpu.default_stream.waits == 1
        shared = [dataclasses.replace(picture, pixels=one) for picture, one in zip(pictures, copies, strict=True)]
        on_gpu = ViTDetDetector(
            model, "cuda", category=CATEGORY, image_size=64, precision=precision, head_precision=head_precision
        )
        stream = on_gpu._stream
        before = len(gpu.default_stream.operations)
        gpu.waits.clear()
        found = on_gpu(shared)
    assert gpu.waits == []
    assert stream.waits == 1
    assert stream.kept == [(90, 120, 3), (90, 121, 3)]
    assert len(gpu.default_stream.operations) == before, "all in the stage's own stream"
    assert on_gpu.dtype == (torch.bfloat16 if precision == "auto" else torch.float32)
    assert [len(people) for people in found] == [0, 0]


def test_masks_of_a_crowd_wait_once_more_on_a_fake_gpu(small_vitdet, monkeypatch):
    monkeypatch.setattr(stage, "MASKS", 3)
    model = copy.deepcopy(small_vitdet)
    with fake_gpu() as gpu:
        on_gpu = ViTDetDetector(model, "cuda", category=CATEGORY, image_size=64, min_width=0, min_height=0)
        gpu.values[1, 1000] = np.arange(1000) < 5  # scores
        gpu.values[1, 1000, 4] = np.array([10, 10, 50, 50])
        gpu.values[(3,)] = np.arange(3)  # the places of the first masks
        gpu.waits.clear()
        (found,) = on_gpu([frame(noise(64, 64))])
    assert len(found) == len(found.masks) == 5
    assert gpu.waits == []
    assert on_gpu._stream.waits == 2


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
def test_nothing_waits_for_the_gpu_before_the_end(small_vitdet, vitdet_reference, precision, monkeypatch):
    """Only the stage itself does, for the copy of its results."""
    monkeypatch.setattr(stage, "MASKS", 64)  # there are more than 16 in a picture, whose masks would come in parts
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


@pytest.mark.gpu
def test_the_batch_is_halved_when_the_gpus_memory_is_full(small_vitdet, vitdet_reference):
    """With memory for more than one picture, and not for four."""
    pictures = [frame(vitdet_reference["image"], i) for i in range(4)]

    def on_gpu(batch_size):
        return ViTDetDetector(
            copy.deepcopy(small_vitdet), "cuda", score_threshold=0.3, category=CATEGORY, image_size=256,
            batch_size=batch_size, precision="float32",
        )  # fmt: skip

    def peak(detector):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        found = detector(pictures)
        return found, torch.cuda.max_memory_reserved()

    one, four = on_gpu(1), on_gpu(4)
    expected, least = peak(one)
    _, most = peak(four)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((least + 0.4 * (most - least)) / total)
    try:
        found = four(pictures)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert four.batches.size in (1, 2)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.scores[:10], theirs.scores[:10], atol=1e-2)
