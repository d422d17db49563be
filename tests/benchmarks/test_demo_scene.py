"""The demo scene's truth agrees with its pictures and with itself."""

import json

import av
import numpy as np
import pytest
import torch
from demo_scene.scene import make_demo_scene
from pycocotools import mask as coco

from fourd_humans.body.model import BodyModel
from fourd_humans.detection.precomputed import read_boxes
from fourd_humans.errors import UsageError
from fourd_humans.geometry.camera import Intrinsics, project

SIZE = (144, 256)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """All of the scene, small and with few frames."""
    return make_demo_scene(tmp_path_factory.mktemp("scene"), SIZE, seconds=8, frame_rate=5)


@pytest.fixture(scope="module")
def truth(scene):
    with np.load(scene.truth, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def decoded(scene):
    masks = json.loads(scene.masks.read_text())
    return {
        (int(t), int(i)): coco.decode({"size": rle["size"], "counts": rle["counts"].encode()}).astype(bool)
        for t, people in masks.items()
        for i, rle in people.items()
    }


def test_the_video_has_every_frame(scene, truth):
    with av.open(str(scene.video)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) == 40 == len(truth["camera"])
    assert images[0].shape == (*SIZE, 3)


def test_people_differ_from_the_background_where_their_masks_are(scene):
    with av.open(str(scene.video)) as container:
        images = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)
    masks = decoded(scene)
    inside = np.zeros(images.shape[:3], bool)
    for (t, _), mask in masks.items():
        inside[t] |= mask
    empty = np.nanmedian(np.where(inside[..., None], np.nan, images), axis=0)
    differs = np.abs(images - empty).mean(-1)
    assert np.nanmedian(differs[inside]) > 5 * np.nanmedian(differs[~inside])


def test_the_parameters_give_the_boxes(truth):
    body_model = BodyModel.open_body()
    intrinsics = Intrinsics(float(truth["focal_length"]), tuple(truth["principal_point"]))
    for t in (0, 17, 39):
        parameters = (truth["global_orient"][t], truth["body_pose"][t], truth["betas"])
        with torch.inference_mode():
            posed = body_model(*map(torch.from_numpy, parameters))
        pixels = project(posed.vertices.numpy(), truth["camera"][t], intrinsics)
        np.testing.assert_allclose(pixels.min(1), truth["boxes"][t, :, :2], atol=0.05)
        np.testing.assert_allclose(pixels.max(1), truth["boxes"][t, :, 2:], atol=0.05)
        np.testing.assert_allclose(posed.joints.numpy(), truth["joints_3d"][t], atol=1e-4)
        np.testing.assert_allclose(
            project(truth["joints_3d"][t], truth["camera"][t], intrinsics), truth["joints_2d"][t], atol=0.01
        )


def test_somebody_is_hidden_for_a_second_and_comes_back(truth):
    hidden = (truth["visibility"][:, 1] < 0.01) & truth["present"][:, 1]
    frames = np.flatnonzero(hidden)
    assert len(frames) >= 1.2 * truth["frame_rate"]
    assert truth["visibility"][: frames[0] - 1, 1].max() > 0.9
    assert truth["visibility"][frames[-1] + 2 :, 1].max() > 0.9


def test_somebody_leaves_and_comes_back(truth):
    present = truth["present"][:, 2]
    gone = np.flatnonzero(~present)
    assert present[0]
    assert present[gone[0] : gone[-1]].sum() == 0
    assert present[gone[-1] + 1 : gone[-1] + 8].all()
    assert 0.8 < len(gone) / truth["frame_rate"] < 2


def test_masks_agree_with_visibility_and_boxes(scene, truth):
    masks = decoded(scene)
    for t in range(len(truth["camera"])):
        taken = np.zeros(SIZE, int)
        for person in range(5):
            mask = masks.get((t, person + 1))
            assert (mask is None) == (truth["visibility"][t, person] == 0)
            if mask is not None:
                taken += mask
                rows, columns = np.nonzero(mask)
                box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                np.testing.assert_array_equal(truth["visible_boxes"][t, person], box)
        assert taken.max() <= 1


def test_feet_stand_on_the_ground_and_people_move_evenly(truth):
    steps = np.linalg.norm(np.diff(truth["camera"], axis=0), axis=-1) * truth["frame_rate"]
    assert steps.max() < 2.2  # metres per second
    pelvis = truth["joints_3d"][..., 8, 1] + truth["camera"][..., 1]
    assert np.ptp(pelvis - truth["camera"][..., 2] * np.tan(-np.radians(7)), axis=0).max() < 0.35


def test_the_mot_file_reads_as_boxes(scene, truth):
    boxes = read_boxes(scene.boxes)
    assert sum(map(len, boxes.by_number.values())) == truth["present"].sum()
    first = {person.annotation: person.box for person in boxes.by_number[0]}
    for person in np.flatnonzero(truth["present"][0]):
        np.testing.assert_allclose(first[person + 1], truth["boxes"][0, person], atol=0.02)


def test_the_same_seed_gives_the_same_scene(tmp_path):
    size, length = (64, 96), {"seconds": 2, "frame_rate": 2}
    one, two, other = (
        make_demo_scene(tmp_path / name, size, seed=seed, **length) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one.boxes.read_text() == two.boxes.read_text() != other.boxes.read_text()


def test_impossible_requests_are_refused(tmp_path):
    with pytest.raises(UsageError):
        make_demo_scene(tmp_path, (10, 10))
    with pytest.raises(UsageError):
        make_demo_scene(tmp_path, seconds=0)
