"""Folders of images and single images, of all the kinds that there are."""

import cv2
import numpy as np
import pytest
from PIL import Image

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.video import BadFrame, open_source
from fourd_humans.video.images import read_image


@pytest.fixture
def picture():
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :, 0] = np.linspace(0, 255, 60)
    image[:, :, 1] = np.linspace(255, 0, 40)[:, None]
    image[:10, :10] = (250, 250, 0)
    return image


def test_a_folder_is_read_in_natural_order(tmp_path, picture):
    for name in ("10.png", "9.png", "100.png", "1.png", ".hidden.png", "notes.txt"):
        Image.fromarray(picture).save(tmp_path / name, format="png")
    source = open_source(tmp_path)
    frames = list(source)
    assert [frame.name for frame in frames] == ["1.png", "9.png", "10.png", "100.png"]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(4) / source.frame_rate)
    assert source.frame_count == 4
    assert source.name == tmp_path.name
    assert not source.is_image


@pytest.mark.parametrize(("start", "end", "names"), [(1, 3, ["b.png", "c.png"]), (0.0, 0.05, ["a.png", "b.png"]),
                                                     (2, None, ["c.png", "d.png"])])  # fmt: skip
def test_a_part_of_a_folder(tmp_path, picture, start, end, names):
    for name in "abcd":
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    frames = list(open_source(tmp_path, start, end))
    assert [frame.name for frame in frames] == names
    assert frames[0].index == "abcd".index(names[0][0])
    with pytest.raises(UsageError, match="has only 4 images"):
        open_source(tmp_path, 4)


def test_one_image(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "one.png")
    source = open_source(tmp_path / "one.png")
    assert source.is_image
    assert source.name == "one"
    (frame,) = source
    np.testing.assert_array_equal(frame.image, picture)


def test_images_of_several_sizes_keep_them(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(picture[:20]).save(tmp_path / "b.png")
    assert [frame.size for frame in open_source(tmp_path)] == [(40, 60), (20, 60)]


def test_an_image_that_cannot_be_read_is_recorded_and_the_others_come(tmp_path, picture):
    for name in "abc":
        Image.fromarray(picture).save(tmp_path / f"{name}.jpg")
    whole = (tmp_path / "b.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: len(whole) // 2])
    first, bad, last = open_source(tmp_path)
    assert (first.index, last.index) == (0, 2)
    assert isinstance(bad, BadFrame)
    assert (bad.index, bad.name) == (1, "b.jpg")
    assert "b.jpg" in bad.reason
    assert "truncated" in bad.reason.lower()


def test_folders_without_images(tmp_path):
    with pytest.raises(UsageError, match="no images in the folder"):
        open_source(tmp_path)
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(FourDHumansError, match=r"none of the 1 images can be read.*a\.png"):
        open_source(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_one_image_that_cannot_be_read(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(FourDHumansError, match=r"a\.png") as error:
        open_source(tmp_path / "a.png")
    assert "\n" not in str(error.value)


def test_kinds_of_pixels(tmp_path, picture):
    grey = picture.mean(2).astype(np.uint8)
    grey_as_rgb = np.repeat(grey[..., None], 3, 2)
    expected = {}

    def save(name, image, same_as):
        image.save(tmp_path / name)
        expected[name] = same_as

    save("grey.png", Image.fromarray(grey), grey_as_rgb)
    save("grey16.png", Image.fromarray(grey.astype(np.uint16) * 257), grey_as_rgb)
    save("alpha.png", Image.fromarray(np.dstack([picture, grey])), picture)
    save("grey_alpha.png", Image.fromarray(grey).convert("LA"), grey_as_rgb)
    save("palette.png", Image.fromarray(grey).convert("P"), grey_as_rgb)
    save("bits.png", Image.fromarray(grey > 127), np.where(grey_as_rgb > 127, 255, 0))
    save("cmyk.tif", Image.fromarray(picture).convert("CMYK"), picture)
    save("grey16.tif", Image.fromarray(grey.astype(np.uint16) * 257), grey_as_rgb)
    cv2.imwrite(str(tmp_path / "rgb16.png"), picture[..., ::-1].astype(np.uint16) * 257)
    expected["rgb16.png"] = picture
    for name, same_as in expected.items():
        image = read_image(tmp_path / name)
        assert image.dtype == np.uint8, name
        assert image.shape == (40, 60, 3), name
        assert np.abs(image.astype(int) - same_as).max() <= 2, name


@pytest.mark.parametrize("scale", [1, 257])
def test_32_bit_integers_of_8_or_16_bits(tmp_path, picture, scale):
    grey = picture.mean(2).astype(np.int32)
    Image.fromarray(grey * scale).save(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize(("orientation", "turn"), [
    (1, lambda image: image),
    (2, lambda image: image[:, ::-1]),
    (3, lambda image: image[::-1, ::-1]),
    (6, lambda image: np.rot90(image, 1)),
    (8, lambda image: np.rot90(image, -1)),
])  # fmt: skip
def test_exif_orientation_is_honoured(tmp_path, picture, orientation, turn):
    """What is stored is the upright picture turned the other way, and the tag that says how to turn it back."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(turn(picture))).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == picture.shape
    assert np.abs(image.astype(int) - picture).mean() < 3


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (4320, 7680)])
def test_smallest_and_largest(tmp_path, size):
    Image.fromarray(np.full((*size, 3), 77, np.uint8)).save(tmp_path / "a.bmp")
    source = open_source(tmp_path / "a.bmp")
    assert source.size == size
    assert next(iter(source)).image[-1, -1].tolist() == [77, 77, 77]
