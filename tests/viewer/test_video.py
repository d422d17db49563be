"""Videos that browsers play are left as they are, others are converted; either way times are right."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from fourd_humans.people import Frame
from fourd_humans.video import VideoWriter, open_source
from fourd_humans.viewer.video import TALLEST, convert, playable

ROOT = Path(__file__).parents[2]
VIDEO = ROOT / "demo_videos" / "two_people.mp4"


def write(path, codec, pix_fmt="yuv420p", count=8, delay=0.0, audio=False):
    """A video of `count` gray frames, 10 a second; the first is shown `delay` seconds after the sound begins."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        sound = container.add_stream("aac", rate=8000) if audio else None
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8)).reformat(format=pix_fmt)
            frame.pts, frame.time_base = number + round(delay * 10), Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 8000, 0
            container.mux(sound.encode(silence))
            container.mux(sound.encode(None))
    return path


def test_h264_is_left_as_it_is():
    video = playable(open_source(VIDEO))
    assert (video.path, video.type, video.offset) == (VIDEO, "video/mp4", 0)
    assert video.frame_rate == pytest.approx(60, abs=0.1)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "type_"),
    [
        ("a.mp4", "libx264", "yuv420p", "video/mp4"),
        ("a.mov", "libx264", "yuv420p", "video/mp4"),
        ("a.webm", "libvpx", "yuv420p", "video/webm"),
        ("a.mkv", "libx264", "yuv420p", None),
        ("a.mp4", "mpeg4", "yuv420p", None),
        ("a.avi", "mpeg4", "yuv420p", None),
        ("a.mp4", "libx264", "yuv444p", None),
    ],
)
def test_what_browsers_play(tmp_path, name, codec, pix_fmt, type_):
    video = playable(open_source(write(tmp_path / name, codec, pix_fmt)))
    assert (video and video.type) == type_


def test_pictures_that_begin_after_the_sound(tmp_path):
    video = playable(open_source(write(tmp_path / "late.mp4", "libx264", delay=0.5, audio=True)))
    assert video.offset > 0.3  # 0.5, and the sound's first samples stand before 0


def test_a_converted_video_has_its_frames_at_their_times(tmp_path):
    video = convert(open_source(write(tmp_path / "a.avi", "mpeg4")), tmp_path / "converted.mp4")
    assert (video.type, video.name, video.offset) == ("video/mp4", "a.avi", 0)
    source = open_source(video.path)
    assert playable(source) is not None
    frames = [frame for frame in source if isinstance(frame, Frame)]
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(8) / 10, atol=1e-3)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 20 * np.arange(8), atol=4)


def test_images_are_converted_and_large_ones_made_smaller(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((1000, 1500, 3), 40 * number, np.uint8))
    source = open_source(tmp_path)
    assert playable(source) is None
    assert open_source(convert(source, tmp_path / "converted.mp4").path).size == (TALLEST, 1080)


def test_videos_of_this_program_are_left_as_they_are(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25, (48, 64)) as writer:
        for number in range(3):
            writer.write(np.zeros((48, 64, 3), np.uint8), number / 25)
    assert playable(open_source(tmp_path / "a.mp4")) is not None
