"""Regions around people, their crops, and other people hidden in a crop."""

import numpy as np
import pytest

from fourd_humans.recovery.landmarks.regions import GREY, Regions, crop, hide_others, mask_in_frame, regions_of


def standing(x, y, height=200.0):
    """COCO keypoints of a person with the hips at (x, y)."""
    offsets = np.zeros((17, 2))
    offsets[:5, 1], offsets[5:7, 1], offsets[7:9, 1], offsets[9:11, 1] = -0.45, -0.3, -0.15, 0.0
    offsets[13:15, 1], offsets[15:17, 1] = 0.25, 0.5
    offsets[5:, 0] = np.tile([0.06, -0.06], 6)
    return np.concatenate([offsets * height + [x, y], np.full((17, 1), 0.9)], 1).astype(np.float32)


def test_a_region_is_centred_at_the_hips_and_upright_along_the_trunk():
    keypoints = standing(300, 400)
    lying = keypoints.copy()
    lying[:, :2] = (keypoints[:, :2] - [300, 400]) @ [[0, 1], [-1, 0]] + [300, 400]  # a quarter turn clockwise
    regions = regions_of(np.stack([keypoints, lying]), np.zeros((2, 4), np.float32))
    np.testing.assert_allclose(regions.center, [[300, 400]] * 2, atol=1e-3)
    np.testing.assert_allclose(regions.angle, [0, np.pi / 2], atol=1e-5)
    np.testing.assert_allclose(regions.side, 2.5 * np.hypot(100, 12), rtol=1e-4)
    up = np.array([128, 0, 1.0])
    np.testing.assert_allclose(regions.to_frame()[1] @ up, [300 + regions.side[1] / 2, 400], atol=1e-2)


def test_without_hips_the_box_is_used():
    keypoints = standing(300, 400)
    keypoints[11:13, 2] = 0
    regions = regions_of(keypoints[None], np.float32([[250, 280, 350, 520]]))
    np.testing.assert_allclose(regions.center, [[300, 400]])
    assert regions.side[0] == pytest.approx(240 * 2.5 / 2)


def test_crops_and_masks_are_each_others_inverse():
    regions = Regions(np.float32([[100, 120]]), np.float32([128]), np.float32([0.6]))
    image = np.zeros((240, 200, 3), np.uint8)
    image[110:150, 90:115] = 255
    picture = crop(image, regions)[0]
    mask = mask_in_frame((picture[..., 0] - 0.5) * 20, regions.to_frame()[0], (240, 200)).full()
    expected = image[..., 0] > 0
    assert (mask & expected).sum() / (mask | expected).sum() > 0.97


def hidden(own, other, masks):
    keypoints = np.stack([own, other])
    boxes = np.stack([np.concatenate([k[:, :2].min(0) - 10, k[:, :2].max(0) + 10]) for k in keypoints])
    regions = regions_of(keypoints, boxes)
    white = np.ones((256, 256, 3), np.float32)
    picture = hide_others(white, 0, np.array([1]), regions, boxes, keypoints, masks)
    to_crop = np.linalg.inv(np.vstack([regions.to_frame()[0], [0, 0, 1]]))

    def is_hidden(x, y):
        column, row, _ = to_crop @ [x, y, 1]
        return (picture[round(row), round(column)] == GREY).all()

    return is_hidden


def test_another_person_is_hidden_within_their_box_and_along_their_bones():
    everything = np.full((2, 256, 256), 8.0, np.float32)
    is_hidden = hidden(standing(300, 400), standing(350, 400), everything)
    assert is_hidden(350, 470)  # between the legs: by the mask
    assert not is_hidden(390, 450)  # outside the box
    is_hidden = hidden(standing(300, 400), standing(350, 400), -everything)
    assert is_hidden(362, 360)  # the left upper arm, which the mask misses
    assert not is_hidden(350, 470)


def test_the_persons_own_bones_stay_visible():
    everything = np.full((2, 256, 256), 8.0, np.float32)
    is_hidden = hidden(standing(300, 400), standing(310, 400), everything)
    assert not is_hidden(312, 430)  # the left thigh, although the other's mask covers it
    assert is_hidden(327, 430)
