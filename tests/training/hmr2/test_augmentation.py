"""Crops, flips and extreme crops against what the released code made; figures from its `get_example`."""

import numpy as np
import pytest
import torch

from fourd_humans.geometry.rotations import axis_angle_to_matrix
from fourd_humans.training.hmr2.annotations import PersonAnnotation
from fourd_humans.training.hmr2.augmentation import (
    EXTREME_CROPS,
    MIRRORED_KEYPOINTS,
    Augmentation,
    Box,
    Draw,
    Generators,
    box_to_crop,
    chosen_crop,
    crop_transform,
    cut_out,
    draw_augmentation,
    extreme_crop_box,
    flip_keypoints_2d,
    flip_keypoints_3d,
    flip_pose,
    rotation_in_image,
    seen_part,
    warp,
)
from fourd_humans.training.hmr2.losses import normalise

CASES = (
    "plain", "noflip", "flip", "flip_norot", "extreme_full", "extreme_full_flip", "extreme_upper", "extreme_level0",
    "extreme_neither", "default",
)  # fmt: skip
RELEASED_CROPS = dict(zip(EXTREME_CROPS, (
    "crop_to_hips", "crop_to_shoulders", "crop_to_head", "crop_torso_only", "crop_rightarm_only", "crop_leftarm_only",
    "crop_legs_only", "crop_rightleg_only", "crop_leftleg_only",
), strict=True))  # fmt: skip


@pytest.fixture(scope="module")
def stored(figures):
    return figures("crops.npz"), figures("crops.json")


def person_of(arrays, keypoints="full"):
    return PersonAnnotation(
        center=arrays["center"].astype(np.float32), box_size=(arrays["scale"] * 200).astype(np.float32),
        keypoints_2d=arrays[f"kp2d_{keypoints}"], keypoints_3d=arrays["kp3d"], body_pose=arrays["body_pose"],
        betas=arrays["betas"], has_body_pose=True, has_betas=True,
    )  # fmt: skip


def draw_of(case):
    if not case["do_augment"]:
        return Draw()
    extreme = case.get("extreme_p") if case["do_extreme_crop"] else None
    return Draw(
        (case["tx"], case["ty"]), case["scale"], case["rot_degrees"], case["do_flip"], extreme,
        tuple(case["color_scale"]),
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_crops(stored, name):
    """Tolerances are those of the reference: its map is made of float32 corners."""
    arrays, case = stored[0], stored[1]["cases"][name]
    person, draw = person_of(arrays, case["keypoints"]), draw_of(case)
    settings = Augmentation(extreme_crop_level=case.get("extreme_crop_level", 1))
    box = box_to_crop(person, draw, settings)
    np.testing.assert_allclose([box.x, box.y, box.width, box.height], case["box_to_warp"], atol=1e-5)
    transform = crop_transform(box, draw, 160, case["patch"])
    np.testing.assert_allclose(transform, arrays[f"{name}__trans"], atol=3e-4)
    found = cut_out(person, arrays["image"], draw, settings)
    np.testing.assert_allclose(found["keypoints_2d"], arrays[f"{name}__kp2d"], atol=3e-6)
    np.testing.assert_allclose(found["keypoints_3d"], arrays[f"{name}__kp3d"], atol=1e-6)
    root = axis_angle_to_matrix(torch.from_numpy(arrays[f"{name}__global_orient"]))
    np.testing.assert_allclose(found["global_orient"][0], root, atol=4e-6)
    pose = axis_angle_to_matrix(torch.from_numpy(arrays[f"{name}__body_pose"]).unflatten(0, (23, 3)))
    np.testing.assert_allclose(found["body_pose"], pose, atol=1e-6)
    np.testing.assert_array_equal(found["betas"], arrays[f"{name}__betas"])
    assert (found["image"].shape, found["image"].dtype) == ((256, 256, 3), torch.uint8)


@pytest.mark.parametrize("name", [name for name in CASES if name != "default"])
def test_pictures(stored, name):
    """OpenCV's versions differ by one grey level inside the picture, and more on its border."""
    arrays, case = stored[0], stored[1]["cases"][name]
    draw = draw_of(case)
    settings = Augmentation(extreme_crop_level=case.get("extreme_crop_level", 1))
    box = box_to_crop(person_of(arrays, case["keypoints"]), draw, settings)
    image = arrays["image"][:, ::-1] if draw.flip else arrays["image"]
    pixels = warp(np.ascontiguousarray(image), crop_transform(box, draw, 160, 64), settings, 64)
    difference = np.abs(pixels.astype(int) - arrays[f"{name}__warped_rgb"])
    assert difference.max() <= 6
    assert (difference > 2).mean() < 0.005


@pytest.mark.parametrize("name", ["noflip", "flip"])
def test_colour_and_normalisation(stored, name):
    arrays, case = stored[0], stored[1]["cases"][name]
    pixels = torch.from_numpy(arrays[f"{name}__warped_rgb"])[None]
    found = normalise(pixels, torch.tensor([case["color_scale"]]))
    np.testing.assert_allclose(found[0, :, ::2, ::2], arrays[f"{name}__img"], atol=1e-5)


def test_masks_are_warped_alike(stored):
    arrays, case = stored[0], stored[1]["cases"]["flip"]
    draw, settings = draw_of(case), Augmentation()
    box = box_to_crop(person_of(arrays), draw, settings)
    whole = np.full((120, 160, 1), 255, np.uint8)
    inside = warp(whole, crop_transform(box, draw, 160, 64), settings, 64).reshape(64, 64) / 255
    np.testing.assert_allclose(inside, arrays["flip__inside"].astype(float), atol=0.03)


def test_draws_are_the_released_ones(stored):
    """Numpy's and Python's generators with the same seed, the default settings."""
    expected, generators = stored[0]["draws"], Generators(100)
    for row in expected:
        draw = draw_augmentation(Augmentation(), generators)
        assert (draw.flip, draw.extreme_crop is not None) == (bool(row[2]), bool(row[3]))
        np.testing.assert_allclose([draw.scale, draw.rotation, *draw.colour, *draw.shift], row[[0, 1, 4, 5, 6, 7, 8]])
        assert draw.extreme_crop is None or 0 <= draw.extreme_crop < 1


@pytest.mark.parametrize(("rate", "share"), [(-1, 0), (1, 1), (0.3, 0.3)])
def test_rates(rate, share):
    settings = Augmentation(rotation_rate=rate, flip_rate=rate, extreme_crop_rate=rate)
    generators = Generators(0)
    draws = [draw_augmentation(settings, generators) for _ in range(500)]
    for done in (
        [d.rotation != 0 for d in draws],
        [d.flip for d in draws],
        [d.extreme_crop is not None for d in draws],
    ):
        assert np.mean(done) == pytest.approx(share, abs=0.08)
        assert share not in (0, 1) or np.mean(done) == share


@pytest.mark.parametrize("keypoints", ["full", "upper", "partial"])
def test_boxes_of_extreme_crops(stored, keypoints):
    arrays, known = stored[0], stored[1]["boxes_of_each_crop"][keypoints]
    points = arrays[f"kp2d_{keypoints}"]
    expected = "full body" if known["full_body"] else "upper body" if known["upper_body"] else None
    assert seen_part(points) == expected
    for crop, released in RELEASED_CROPS.items():
        box = extreme_crop_box(Box(81, 61.5, 101, 101), points, crop)
        np.testing.assert_allclose([box.x, box.y, box.width, box.height], known[released], atol=1e-4)
        kept = stored[1]["keypoints_each_crop_keeps"][released]
        assert (sorted(EXTREME_CROPS[crop][0]), EXTREME_CROPS[crop][1]) == (kept["keeps"], kept["factor_after_1_2"])


def test_which_extreme_crop(stored):
    full, upper = stored[0]["kp2d_full"], stored[0]["kp2d_upper"]
    numbers = np.arange(0.05, 1, 0.1)
    assert [chosen_crop(full, p, 1) for p in numbers] == [
        "hips up", "hips up", "shoulders up", "head", "torso", "right arm", "left arm", "legs", "right leg", "left leg",
    ]  # fmt: skip
    assert [chosen_crop(upper, p, 1) for p in (0.1, 0.3, 0.5, 0.7, 0.9)] == [
        "shoulders up", "head", "torso", "right arm", "left arm",
    ]  # fmt: skip
    assert [chosen_crop(full, p, 0) for p in (0.6, 0.8, 0.95)] == ["hips up", "shoulders up", "head"]
    assert [chosen_crop(upper, p, 0) for p in (0.8, 0.95)] == ["shoulders up", "head"]


def test_the_head_without_shoulders(stored):
    """With the released keypoints a detected head's crop reaches down to the shoulders."""
    points = stored[0]["kp2d_full"].copy()
    points[25:] = 0
    box = Box(81, 61.5, 101, 101)
    released, ours = (extreme_crop_box(box, points, "head", released_head_crop=r) for r in (True, False))
    assert ours.height < released.height


def test_flips(figures):
    stored = figures("flips.npz")
    assert list(MIRRORED_KEYPOINTS) == stored["keypoint_permutation"].tolist()
    np.testing.assert_array_equal(flip_pose(stored["pose"]), stored["pose_flipped"])
    width = int(stored["image_width"])
    np.testing.assert_allclose(flip_keypoints_2d(stored["kp2d"], width), stored["kp2d_flipped"], atol=1e-6)
    flipped = flip_keypoints_3d(stored["kp3d"])
    np.testing.assert_allclose(flipped, stored["kp3d_flipped"], atol=3e-6)
    for i, degrees in enumerate(stored["rot_degrees"]):
        turn = rotation_in_image(float(degrees))
        points = torch.from_numpy(flipped[i, :, :3]) @ turn.T
        np.testing.assert_allclose(points, stored["kp3d_flipped_rotated"][i, :, :3], atol=3e-6)
        for before, after in (("pose", "pose_rotated"), ("pose_flipped", "pose_flipped_rotated")):
            root, turned = (axis_angle_to_matrix(torch.from_numpy(stored[name][i, :3])) for name in (before, after))
            np.testing.assert_allclose(turn @ root, turned, atol=4e-6)


def test_boxes_can_be_widened():
    person = PersonAnnotation(np.array([50, 60], np.float32), np.array([90, 80], np.float32))
    assert box_to_crop(person, Draw(), Augmentation()).width == 90
    assert box_to_crop(person, Draw(), Augmentation(widen=True)).width == pytest.approx(120)


def test_the_border_and_antialiasing():
    image = np.zeros((400, 400, 3), np.uint8)
    image[::2] = 255  # finer than the crop shows
    box = Box(200, 200, 1600, 1600)
    transform = crop_transform(box, Draw(), 400)
    rough, smooth = (warp(image, transform, Augmentation(antialias=a, border="replicate")) for a in (False, True))
    inside = slice(100, 156)
    assert rough[inside, inside].std() > 2 * smooth[inside, inside].std()
    assert smooth[inside, inside].mean() == pytest.approx(127, abs=6)
    assert warp(image, transform, Augmentation())[:80].max() == 0
    assert rough[:80].max() > 0
