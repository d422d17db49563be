"""Opening and reading videos: what each frame is, when it is, and what is said of files that are not whole."""

import io
import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.hwaccel import hwdevices_available
from numbered import number_in, numbered
from PIL import Image

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.people import Frame
from fourd_humans.video import BadFrame, open_source, parse_position

DEMO = Path(__file__).parents[2] / "demo_videos"


def good(frames):
    return [frame for frame in frames if isinstance(frame, Frame)]


@pytest.mark.parametrize(
    ("text", "position"),
    [("120", 120), ("3.5s", 3.5), ("12s", 12.0), (".5s", 0.5), ("0:03.5", 3.5), ("2:10", 130.0), ("1:02:03", 3723.0)],
)
def test_positions_are_frames_or_seconds(text, position):
    assert parse_position(text) == position
    assert type(parse_position(text)) is type(position)


@pytest.mark.parametrize("text", ["", "3.5", "-4", "0:75", "4 frames", "s", "1:2:3:4"])
def test_other_positions_are_refused_with_examples(text):
    with pytest.raises(UsageError, match=r"frame number \(120\) or a time \(3.5s"):
        parse_position(text)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.avi", "mpeg4"),
                        ("a.webm", "libvpx"), ("a.mov", "mjpeg")]
)  # fmt: skip
def test_every_frame_comes_once_in_order_with_its_time(make_video, name, codec):
    source = open_source(make_video(name, codec=codec))
    frames = list(source)
    assert [number_in(frame.image) for frame in frames] == list(range(60))
    assert [frame.index for frame in frames] == list(range(60))
    assert [frame.name for frame in frames][:2] == ["000000", "000001"]
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(60) / 30, atol=1e-3)
    assert source.frame_rate == pytest.approx(30)
    assert source.frame_count == 60
    assert source.size == (48, 128)
    assert source.name == "a"
    assert not source.is_image
    assert [number_in(frame.image) for frame in source] == list(range(60)), "it can be read again"


def test_pictures_are_rgb(make_video):
    image = next(iter(open_source(make_video()))).image
    assert image.dtype == np.uint8
    assert image[4, 4, 0] > 180
    assert image[4, 4, 2] < 80


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.ts", "libx264"), ("a.avi", "mpeg4")])
@pytest.mark.parametrize(("start", "end"), [(0, 5), (7, 9), (12, None), (35, 36), (59, 200), (1.0, 1.5), (40, 1.5)])
def test_parts_have_exact_numbers(make_video, name, codec, start, end):
    source = open_source(make_video(name, codec=codec), start, end)
    first, last = (
        60 if position is None else position if isinstance(position, int) else round(position * 30)
        for position in (start, end)
    )
    expected = list(range(first, min(last, 60)))
    frames = list(source)
    assert [frame.index for frame in frames] == expected
    assert [number_in(frame.image) for frame in frames] == expected
    assert source.frame_count == len(expected)
    np.testing.assert_allclose([frame.time for frame in frames], np.array(expected) / 30, atol=1e-3)


@pytest.mark.parametrize(("start", "end"), [(100, None), (5.0, None), (3.0, 200)])
def test_a_part_outside_is_an_error_that_says_how_long_the_video_is(make_video, start, end):
    with pytest.raises(UsageError, match="about 60 frames"):
        open_source(make_video(), start, end)


@pytest.mark.parametrize(("start", "end"), [(5, 5), (2.0, 1.0), (None, 0), (-1, None)])
def test_a_part_that_is_none_is_an_error(make_video, start, end):
    with pytest.raises(UsageError, match="must"):
        open_source(make_video(), start, end)


def test_varying_frame_rates_keep_their_times(make_video):
    ticks = np.cumsum([1, 1, 5, 1, 9, 2, 2, 1, 30, 1] * 2) - 1
    path = make_video(count=20, ticks=ticks.tolist())
    np.testing.assert_allclose([frame.time for frame in open_source(path)], ticks / 30, atol=1e-3)
    late = list(open_source(path, start=13))
    assert [number_in(frame.image) for frame in late] == list(range(13, 20))
    np.testing.assert_allclose([frame.time for frame in late], ticks[13:] / 30, atol=1e-3)


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (-90, -1), (180, 2)])
def test_rotation_flags_are_honoured(make_video, rotation, turns):
    """The flag is an anticlockwise angle, as numpy's is."""
    source = open_source(make_video(count=3, rotation=rotation))
    expected = np.rot90(numbered(0), turns)
    assert source.size == expected.shape[:2]
    image = next(iter(source)).image
    assert image.flags.c_contiguous
    assert np.abs(image.astype(int) - expected).mean() < 6


def test_rates_of_television(make_video):
    assert open_source(make_video(rate=Fraction(30000, 1001))).frame_rate == pytest.approx(30000 / 1001)


def test_a_colon_or_percent_sign_in_a_name(make_video):
    assert len(list(open_source(make_video().rename(make_video().with_name("at 12:30 %d.mp4"))))) == 60


def test_sound_is_noticed(make_video):
    assert not open_source(make_video()).has_audio
    assert open_source(make_video("sound.mp4", sound="aac")).has_audio


def test_demo_videos():
    source = open_source(DEMO / "walk.mp4", start=200)
    assert source.has_audio
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(200, 230))
    assert frames[0].size == source.size == (994, 1768)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mov", "mjpeg"), ("a.avi", "mpeg4")])
def test_damage_in_the_middle_is_recorded_and_reading_goes_on(make_video, name, codec):
    path = make_video(name, codec=codec)
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") if name != "a.avi" else data.index(b"movi")
    middle = begin + (len(data) - begin) // 2
    length = 1500 if codec == "mjpeg" else 60
    data[middle : middle + length] = np.random.default_rng(0).integers(0, 256, length, np.uint8).tobytes()
    path.write_bytes(data)
    frames = list(open_source(path))
    bad = [frame for frame in frames if isinstance(frame, BadFrame)]
    assert 1 <= len(bad) <= 20
    assert bad[0].reason
    assert bad[0].name == f"{bad[0].index:06d}"
    assert [frame.index for frame in frames] == list(range(len(frames)))
    before = [frame for frame in good(frames) if frame.index < bad[0].index - 3]
    assert before
    assert all(number_in(frame.image) == frame.index for frame in before)
    assert good(frames)[-1].index > bad[0].index, "reading went on"


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mov", "mjpeg")])
def test_a_truncated_file_gives_what_is_there_and_says_so(make_video, name, codec):
    path = make_video(name, codec=codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    frames = list(open_source(path))
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert [number_in(frame.image) for frame in good(frames)] == list(range(len(good(frames))))
    assert 20 < len(good(frames)) < 60
    assert isinstance(frames[-1], BadFrame)
    assert "truncated" in frames[-1].reason


CONTAINERS = [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx"),
              ("a.mov", "mjpeg")]  # fmt: skip


@pytest.mark.parametrize(("name", "codec"), CONTAINERS)
@pytest.mark.parametrize("rate", [Fraction(1, 2), Fraction(1, 10)])
def test_a_whole_file_of_less_than_a_frame_a_second_has_no_bad_frame(make_video, name, codec, rate):
    if codec == "mpeg4" and rate < Fraction(1, 2):
        pytest.skip("MPEG-4 has no such rate")
    frames = list(open_source(make_video(name, count=6, codec=codec, rate=rate)))
    assert [number_in(frame.image) for frame in frames] == list(range(6))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(6) / float(rate), rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "codec", "sound"), [("a.mp4", "libx264", "aac"), ("a.mkv", "libx264", "aac"), ("a.ts", "libx264", "aac"),
                                 ("a.avi", "mpeg4", "libmp3lame"), ("a.webm", "libvpx", "libopus")]
)  # fmt: skip
@pytest.mark.parametrize("start", [None, 20])
def test_a_whole_file_whose_sound_is_longer_has_no_bad_frame(make_video, name, codec, sound, start):
    path = make_video(name, count=30, codec=codec, sound=sound, sound_seconds=6.0)
    frames = list(open_source(path, start))
    assert [number_in(frame.image) for frame in frames] == list(range(start or 0, 30))


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.mp4", "libx264")])
def test_a_truncated_file_with_sound_is_noticed(make_video, name, codec):
    path = make_video(name, count=200, codec=codec, sound="aac", size=(96, 256))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = list(open_source(path))
    assert 20 < len(good(frames)) < 180
    assert isinstance(frames[-1], BadFrame)
    assert "truncated" in frames[-1].reason


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_all_frames_before_a_cut_end_are_decoded(make_video, codec):
    """All that there are packets of, but for the one that the cut goes through."""
    path = make_video(codec=codec, count=120, size=(240, 320))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    with av.open(path) as file:
        packets = sum(1 for packet in file.demux(video=0) if packet.size)
    frames = good(open_source(path))
    assert [number_in(frame.image) for frame in frames] == [frame.index for frame in frames]
    assert len(frames) == packets - 1


def test_damaged_files_read_the_same_every_time(make_video):
    path = make_video("a.mp4", count=120, size=(240, 320), gop=30)
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 2000
    rng = np.random.default_rng(3)
    for place in rng.integers(begin, len(data) - 100, 25):
        data[place : place + 4] = rng.integers(0, 256, 4, np.uint8).tobytes()
    path.write_bytes(data)

    def read():
        return [frame.image.tobytes() if isinstance(frame, Frame) else frame.reason for frame in open_source(path)]

    first = read()
    assert any(isinstance(frame, bytes) for frame in first)
    assert all(read() == first for _ in range(4))


def test_metadata_in_another_encoding(make_video):
    path = make_video("a.mkv", title="NAME")
    path.write_bytes(path.read_bytes().replace(b"NAME", b"caf\xe9"))
    assert len(list(open_source(path))) == 60


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_motion_jpeg_with_exif(tmp_path, orientation, turns):
    """As cameras write it. The orientation is honoured."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", orientation
    with av.open(tmp_path / "a.avi", "w") as file:
        video = file.add_stream("mjpeg", rate=10)
        video.width, video.height, video.pix_fmt = 128, 48, "yuvj420p"
        for index in range(4):
            jpeg = io.BytesIO()
            Image.fromarray(numbered(index)).save(jpeg, "jpeg", exif=exif, quality=95)
            packet = av.Packet(jpeg.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = video, index, index, Fraction(1, 10)
            file.mux(packet)
    frames = list(open_source(tmp_path / "a.avi"))
    assert len(frames) == 4
    for index, frame in enumerate(frames):
        assert np.abs(frame.image.astype(int) - np.rot90(numbered(index), turns)).mean() < 6


@pytest.mark.parametrize(("aspect", "width"), [((4, 3), 171), ((212, 1), 128), ((1, 300), 128)])
def test_pixel_aspect_ratios_beyond_reason_are_ignored(make_video, aspect, width):
    path = make_video("a.mp4", pixel_aspect=Fraction(4, 3))
    data = path.read_bytes()
    place = data.index(b"pasp") + 4
    path.write_bytes(data[:place] + struct.pack(">II", *aspect) + data[place + 8 :])
    source = open_source(path)
    assert source.size == (48, width)
    assert len(good(source)) == 60


def test_a_named_pipe_is_refused(tmp_path):
    pytest.importorskip("fcntl")  # no pipes in the file system on Windows
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.mp4", "pipe.png"):
        with pytest.raises(UsageError, match=rf"{name} is neither a file nor a folder"):
            open_source(tmp_path / name)
    with pytest.raises(UsageError, match="no images"):
        open_source(tmp_path)


def test_missing_file():
    with pytest.raises(UsageError, match=r"there is no file or folder nowhere\.mp4"):
        open_source("nowhere.mp4")


def test_empty_file(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(FourDHumansError, match=r"empty\.mp4 is empty$"):
        open_source(tmp_path / "empty.mp4")


@pytest.mark.parametrize(("name", "content"), [("a.mp4", b"no video " * 500), ("notes.txt", b"a line\n" * 500)])
def test_what_is_not_a_video(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FourDHumansError, match=name) as error:
        open_source(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("missing", [100, 3000])
def test_a_video_without_its_index(make_video, missing):
    """A recording that was cut off before its end was written."""
    path = make_video(faststart=False)
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(FourDHumansError, match=r"complete\?"):
        open_source(path)


def test_only_sound(tmp_path):

    with av.open(tmp_path / "sound.wav", "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))
    with pytest.raises(FourDHumansError, match="holds no video"):
        open_source(tmp_path / "sound.wav")


def test_a_device_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match=r"video\.hwaccel: .*walk\.mp4 cannot be decoded by 'nothing' here; PyAV"):
        open_source(DEMO / "walk.mp4", hwaccel="nothing")


@pytest.mark.skipif("drm" not in hwdevices_available(), reason="PyAV was built without it")
def test_where_a_device_does_not_know_the_format_the_cpu_decodes(caplog):
    """drm is a kind of device that no decoder of the demo videos takes."""
    expected = next(iter(open_source(DEMO / "walk.mp4", end=2)))
    found = next(iter(open_source(DEMO / "walk.mp4", end=2, hwaccel="drm")))
    np.testing.assert_array_equal(found.image, expected.image)
    assert "walk.mp4 is decoded by the CPU: 'drm' does not decode" in caplog.text


@pytest.mark.gpu
def test_frames_decoded_on_a_gpu_are_those_of_the_cpu():
    """As far as roundings of colours."""
    on_cpu, on_gpu = (good(open_source(DEMO / "two_people.mp4", end=5, hwaccel=name)) for name in (None, "cuda"))
    assert [frame.time for frame in on_gpu] == [frame.time for frame in on_cpu]
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        assert np.abs(ours.image.astype(int) - theirs.image).mean() < 2
