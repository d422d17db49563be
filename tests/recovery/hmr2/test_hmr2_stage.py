"""The stage: people of several frames at once, what it refuses, and what it does when memory is short."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from fake_gpu import fake_gpu
from gpu_waits import waits_for_the_gpu

from fourd_humans.body.model import SMPL, BodyModel
from fourd_humans.devices import upload_images
from fourd_humans.errors import UsageError
from fourd_humans.geometry.camera import intrinsics_from, project
from fourd_humans.geometry.crops import crop_squares
from fourd_humans.people import Detections, Frame, Mask
from fourd_humans.recovery.hmr2 import stage as stage_module
from fourd_humans.recovery.hmr2.crops import crop_people
from fourd_humans.recovery.hmr2.stage import HMR2Recovery, fitting_batch_size


@pytest.fixture(scope="module")
def open_body():
    return BodyModel.open_body()


@pytest.fixture
def small_model(small_model):
    """With a mean pose and camera as the released model has them: 6D numbers of length 1, people in front."""
    with torch.no_grad():
        small_model.smpl_head.init_body_pose.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(24))
        small_model.smpl_head.init_cam.copy_(torch.tensor([0.9, 0, 0]))
    return small_model


@pytest.fixture
def make_stage(small_model, open_body):
    return partial(HMR2Recovery, small_model, open_body, "cpu", intrinsics_from)


def frame(index, size=(120, 160)):
    image = np.random.default_rng(index).integers(0, 255, (*size, 3), dtype=np.uint8)
    return Frame(index, index / 30, f"{index:06d}", image)


def people(*boxes):
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.linspace(0.5, 0.9, len(boxes)).astype(np.float32))


@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_people_of_several_frames_come_back_in_their_rows(make_stage, small_model, open_body, batch_size):
    frames = [frame(0), frame(1, (90, 200)), frame(2)]
    detections = [people([10, 10, 50, 110], [60, 5, 120, 115]), people(), people([30, 20, 90, 100])]
    results = make_stage(batch_size=batch_size)(frames, detections)

    assert [len(found) for found, _ in results] == [2, 0, 1]
    assert [len(bodies) for _, bodies in results] == [2, 0, 1]
    for this, given, (found, bodies) in zip(frames, detections, results, strict=True):
        assert bodies.shape_space == open_body.shape_space
        assert bodies.principal_point == (this.size[1] / 2, this.size[0] / 2)
        assert bodies.focal_length == pytest.approx(5000 / 256 * max(this.size))
        if not len(given):
            continue
        np.testing.assert_array_equal(found.boxes, given.boxes)
        with torch.no_grad():
            alone = small_model(crop_people(this.image, *crop_squares(given.boxes)))
        np.testing.assert_allclose(bodies.body_pose, alone.body_pose, atol=1e-5)
        np.testing.assert_allclose(bodies.camera_crop, alone.camera_crop, atol=1e-5)
        intrinsics = intrinsics_from(this.size)
        np.testing.assert_allclose(
            bodies.joints_2d, project(bodies.joints_3d, bodies.camera, intrinsics), rtol=1e-5, atol=1e-3
        )
        assert bodies.joints_3d.dtype == bodies.camera.dtype == bodies.joints_2d.dtype == np.float32


def test_nobody_at_all(make_stage):
    ((found, bodies),) = make_stage()([frame(0)], [people()])
    assert len(found) == len(bodies) == 0


def test_the_open_body_gets_no_betas_and_smpl_its_own(make_stage, open_body, monkeypatch):
    given = [people([10, 10, 50, 110])]
    ((_, bodies),) = make_stage()([frame(0)], given)
    assert not bodies.betas.any()
    monkeypatch.setattr(open_body, "shape_space", SMPL)
    ((_, bodies),) = make_stage()([frame(0)], given)
    assert bodies.betas.all()
    assert bodies.shape_space == SMPL


def test_refused_boxes_are_dropped_with_the_reason(make_stage):
    given = people([10, 10, 50, 110], [20, 20, 20, 40], [np.nan, 0, 5, 5], [30, 20, 90, 100])
    given.masks = [Mask(np.ones((1, 1), bool), i, 0, (120, 160)) for i in range(4)]
    ((found, bodies),) = make_stage()([frame(0)], [given])
    assert len(found) == len(bodies) == 2
    assert [mask.left for mask in found.masks] == [0, 3]
    assert [rejected.reason for rejected in found.rejected] == ["box without area", "box not finite"]


def test_answers_that_are_not_finite_are_dropped(make_stage, small_model):
    with torch.no_grad():
        small_model.smpl_head.deccam.bias.fill_(torch.nan)
    ((found, bodies),) = make_stage()([frame(0)], [people([10, 10, 50, 110])])
    assert len(found) == len(bodies) == 0
    assert found.rejected[0].reason == "no finite body in front of the camera"


def test_takes_smaller_batches_when_memory_is_full(make_stage, small_model, monkeypatch):
    stage = make_stage(batch_size=4)
    sizes = []

    def forward(crops):
        sizes.append(len(crops))
        if len(crops) > 1:
            raise torch.OutOfMemoryError
        return small_model(crops)

    monkeypatch.setattr(stage, "model", forward)
    ((found, _),) = stage([frame(0)], [people(*([10, 10, 50, 110],) * 5)])
    assert len(found) == 5
    assert sizes == [4, 2, 1, 1, 1, 1, 1]


def test_batches_are_filled_up_to_a_few_sizes(make_stage, small_model, monkeypatch):
    given = [people(*([10, 10, 50, 110],) * 3, [60, 5, 120, 115]), people([30, 20, 90, 100])]
    expected = make_stage()([frame(0), frame(1)], given)
    stage = make_stage(batch_size=3)
    monkeypatch.setattr(stage, "sizes", (4, 8))
    sizes = []
    monkeypatch.setattr(stage, "model", lambda crops: sizes.append(len(crops)) or small_model(crops))
    assert_same(stage([frame(0), frame(1)], given), expected)
    assert sizes == [3, 3], "filled up, but not beyond what memory holds"
    stage = make_stage(batch_size=8)
    monkeypatch.setattr(stage, "sizes", (4, 8))
    monkeypatch.setattr(stage, "model", lambda crops: sizes.append(len(crops)) or small_model(crops))
    assert_same(stage([frame(0), frame(1)], given), expected)
    assert sizes[2:] == [8]


def test_a_shared_copy_of_the_picture_is_used(make_stage):
    given = [people([10, 10, 50, 110])]
    picture = frame(0)
    shared = replace(picture, image=np.zeros_like(picture.image), pixels=torch.from_numpy(picture.image))
    assert_same(make_stage()([shared], given), make_stage()([picture], given))


def assert_same(found, expected):
    for (_, one), (_, other) in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.joints_3d, other.joints_3d, atol=1e-5)
        np.testing.assert_allclose(one.camera_crop, other.camera_crop, atol=1e-5)


def test_memory_decides_the_batch_size(monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**40, 2**40))
    assert fitting_batch_size(gpu) == stage_module.MOST_ON_GPU
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**28, 2**40))
    assert 1 <= fitting_batch_size(gpu) < 8
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 2**40))
    assert fitting_batch_size(gpu) == 1


def test_lower_precision_gives_nearly_the_same(make_stage):
    given = [people([10, 10, 50, 110])]
    ((_, exact),) = make_stage()([frame(0)], given)
    ((_, rough),) = make_stage(precision="bfloat16")([frame(0)], given)
    assert rough.joints_3d.dtype == np.float32
    assert 0 < abs(exact.camera_crop - rough.camera_crop).max() < 1e-3


def test_says_how_to_get_the_weights(open_body, monkeypatch, tmp_path):
    monkeypatch.setenv("FOURD_HUMANS_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="models download hmr2b"):
        HMR2Recovery.from_checkpoint(None, open_body, "cpu", intrinsics_from)


@pytest.mark.slow
def test_compiled_gives_the_same(make_stage):
    given = [people([10, 10, 50, 110], [60, 5, 120, 115]), people([30, 20, 90, 100])]
    plain = make_stage()([frame(0), frame(1)], given)
    compiled = make_stage(compile=True)([frame(0), frame(1)], given)
    for (_, one), (_, other) in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(one.joints_3d, other.joints_3d, atol=1e-4)


def test_compiled_once_for_each_size(make_stage, monkeypatch):
    graphs = []
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=lambda graph, _: graphs.append(0) or graph))
    stage = make_stage(batch_size=16, compile=True)
    compiled = []
    for count in (3, 5, 8, 9, 1):
        stage([frame(0)], [people(*([10, 10, 50, 110],) * count)])
        compiled.append(len(graphs))
    assert compiled == [1, 1, 1, 2, 2], "for 8 and for 16 people"


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize("antialias", [False, True])
def test_nothing_waits_for_a_fake_gpu_before_the_end(small_model, antialias):
    """Nor does anything mix devices; and the pictures are those that are there already."""
    frames, given = [frame(0), frame(1)], [people([10, 10, 50, 110], [60, 5, 120, 115]), people([30, 20, 90, 100])]
    with fake_gpu() as gpu:
        copies = upload_images([picture.image for picture in frames], torch.device("cuda"), wait=True)
        shared = [replace(picture, pixels=one) for picture, one in zip(frames, copies, strict=True)]
        stage = HMR2Recovery(small_model, BodyModel.open_body(), "cuda", intrinsics_from, antialias=antialias)
        before = len(gpu.default_stream.operations)
        gpu.waits.clear()
        gpu.values[3, 3] = np.ones((3, 3))  # cameras
        results = stage(shared, given)
    assert gpu.waits == []
    assert stage._stream.waits == 1
    assert stage._stream.kept == [(120, 160, 3)] * 2
    assert stage._stream.priority < 0, "it goes before detection"
    assert len(gpu.default_stream.operations) == before, "all in the stage's own stream"
    assert [len(bodies) for _, bodies in results] == [2, 1]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_the_gpu_agrees_with_the_cpu(small_model, precision):
    frames, given = [frame(0), frame(1)], [people([10, 10, 50, 110], [60, 5, 120, 115]), people([30, 20, 90, 100])]
    results = [
        HMR2Recovery(small_model, BodyModel.open_body(), device, intrinsics_from, precision=precision)(frames, given)
        for device in ("cpu", "cuda")
    ]
    for (_, one), (_, other) in zip(*results, strict=True):
        assert np.linalg.norm(one.joints_3d - other.joints_3d, axis=-1).max() < 0.001


@pytest.mark.gpu
@pytest.mark.parametrize("antialias", [False, True])
def test_nothing_waits_for_the_gpu_before_the_end(small_model, antialias):
    """Only the stage itself does, for the copy of its results."""
    frames, given = [frame(0), frame(1)], [people([10, 10, 50, 110], [60, 5, 120, 115]), people([30, 20, 90, 100])]
    stage = HMR2Recovery(small_model, BodyModel.open_body(), "cuda", intrinsics_from, antialias=antialias)
    expected = stage(frames, given)
    found, waits = waits_for_the_gpu(lambda: stage(frames, given))
    assert waits <= 1
    assert_same(found, expected)
