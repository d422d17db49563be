"""The focal length in a file's tags reaches the frames, and the recovery's camera."""

import math

import av
import numpy as np
import pytest
from PIL import ExifTags, Image

from fourd_humans.geometry.camera import Intrinsics, frame_intrinsics, released_intrinsics
from fourd_humans.video import open_source
from fourd_humans.video.frames import focal_length_of

SIZE = (64, 96)
EXPECTED = 26 / math.hypot(36, 24) * math.hypot(*SIZE)


def test_exif(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "b.jpg")
    assert open_source(tmp_path / "a.jpg").focal_length == pytest.approx(EXPECTED)
    assert open_source(tmp_path / "b.jpg").focal_length is None
    assert [frame.focal_length for frame in open_source(tmp_path)] == [pytest.approx(EXPECTED)] * 2


def test_quicktime(tmp_path):
    with av.open(tmp_path / "a.mov", "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata["com.apple.quicktime.camera.focal_length.35mm_equivalent"] = "26"
        stream = container.add_stream("h264", rate=10)
        stream.height, stream.width = SIZE
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((*SIZE, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    source = open_source(tmp_path / "a.mov")
    assert source.focal_length == pytest.approx(EXPECTED)
    assert next(iter(source)).focal_length == pytest.approx(EXPECTED)


@pytest.mark.parametrize("value", [None, "", "wide", 0, -3, 1e9, "nan"])
def test_what_is_no_focal_length(value):
    assert focal_length_of(value, SIZE) is None


def test_tags_replace_only_the_released_convention():
    chosen = Intrinsics(700.0, (48.0, 32.0))
    assert frame_intrinsics(chosen, SIZE, 90.0) == chosen
    released = released_intrinsics(SIZE)
    assert frame_intrinsics(released, SIZE, None) == released
    assert frame_intrinsics(released, SIZE, 90.0) == Intrinsics(90.0, (48.0, 32.0))
