"""Masks survive their encoding, and the encoding is the one every COCO tool writes."""

import numpy as np
import pytest
from pycocotools import mask as coco

from fourd_humans.errors import FourDHumansError
from fourd_humans.geometry.masks import from_rle, to_rle
from fourd_humans.people import Mask


def random_masks() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    masks = [np.zeros((7, 9), dtype=bool), np.ones((7, 9), dtype=bool), np.ones((1, 1), dtype=bool)]
    for size in [(5, 8), (40, 30), (97, 61)]:
        masks += [rng.random(size) < share for share in (0.02, 0.5, 0.98)]
        full_height = np.zeros(size, dtype=bool)
        full_height[:, 2:5] = True  # runs that go on from column to column
        masks.append(full_height)
    return masks


@pytest.mark.parametrize("mask", random_masks(), ids=lambda mask: f"{mask.shape}-{mask.sum()}")
def test_round_trip_and_agreement_with_pycocotools(mask: np.ndarray) -> None:
    rle = to_rle(Mask.from_full(mask))
    expected = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    assert rle["counts"] == expected["counts"]
    assert list(rle["size"]) == list(expected["size"])

    back = from_rle(rle)
    assert back.size == mask.shape
    np.testing.assert_array_equal(back.full(), mask)


def test_a_rectangle_larger_than_its_pixels() -> None:
    mask = Mask(np.zeros((4, 3), dtype=bool), left=2, top=5, size=(20, 10))
    mask.pixels[1, 1] = True
    np.testing.assert_array_equal(from_rle(to_rle(mask)).full(), mask.full())


def test_other_spellings_of_the_counts() -> None:
    mask = Mask.from_full(np.eye(6, 5, dtype=bool))
    rle = to_rle(mask)
    as_text = {**rle, "counts": rle["counts"].decode()}
    as_list = {"size": [6, 5], "counts": [0, 1, 6, 1, 6, 1, 6, 1, 6, 1, 1]}
    for other in (as_text, as_list):
        np.testing.assert_array_equal(from_rle(other).full(), mask.full())


@pytest.mark.parametrize(
    "rle",
    [
        {},
        {"size": [4, 4]},
        {"size": [4], "counts": b"0"},
        {"size": [4, 4], "counts": [3, 20]},
        {"size": [4, 4], "counts": b"PPPPPP5"},
        {"size": [-4, 4], "counts": b"0"},
        {"size": [4, 4], "counts": [3, -2, 15]},
        {"size": [4, 4], "counts": b""},
        {"size": [4, 4], "counts": b"5_"},
        {"size": [4, 4], "counts": "ä"},
        {"size": [4, 4], "counts": None},
    ],
)
def test_nonsense_is_refused(rle: dict) -> None:
    with pytest.raises(FourDHumansError, match="run-length"):
        from_rle(rle)
