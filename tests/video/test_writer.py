"""Written videos play where they should: format, times, colours, sound; and are whole or not there."""

import errno

import av
import numpy as np
import pytest
from numbered import SOUND_RATE, number_in, numbered

from fourd_humans.errors import FourDHumansError
from fourd_humans.video import VideoWriter, open_source


def write(path, count=20, size=(48, 128), rate=30.0, times=None, **options):
    with VideoWriter(path, rate, size, **options) as writer:
        for index in range(count):
            writer.write(numbered(index, size), index / rate if times is None else times[index])


def stream_of(path):
    with av.open(path) as file:
        stream = file.streams.video[0]
        return stream.codec_context, stream.average_rate


def sound_of(path):
    """(samples,) and the time of the first."""
    with av.open(path) as file:
        frames = [(float(frame.pts * frame.time_base), frame.to_ndarray()[0]) for frame in file.decode(audio=0)]
    return np.concatenate([samples for _, samples in frames]), frames[0][0]


def test_what_browsers_play(tmp_path):
    path = tmp_path / "out.mp4"
    write(path)
    context, rate = stream_of(path)
    assert (context.name, context.pix_fmt, rate) == ("h264", "yuv420p", 30)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "plays while it loads"
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_frames_come_back_in_order(tmp_path):
    write(tmp_path / "out.mp4", 60)
    frames = list(open_source(tmp_path / "out.mp4"))
    assert [number_in(frame.image) for frame in frames] == list(range(60))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(60) / 30, atol=1e-4)


@pytest.mark.parametrize("rate", [30000 / 1001, 24000 / 1001, 12.0, 59.94, 0.5, 240.0])
def test_frame_rates(tmp_path, rate):
    write(tmp_path / "out.mp4", 12, rate=rate)
    source = open_source(tmp_path / "out.mp4")
    assert source.frame_rate == pytest.approx(rate, rel=1e-4)
    assert [frame.time for frame in source][-1] == pytest.approx(11 / rate, abs=1e-3)


def test_times_are_kept_where_the_rate_varies_and_begin_with_the_first(tmp_path):
    times = 5 + np.cumsum([0, 0.033, 0.033, 0.4, 0.01, 1.0, 0.02])
    write(tmp_path / "out.mp4", 7, times=times)
    np.testing.assert_allclose([frame.time for frame in open_source(tmp_path / "out.mp4")], times - 5, atol=1e-3)


def test_times_that_stand_still_do_no_harm(tmp_path):
    write(tmp_path / "out.mp4", 4, times=[0.0, 0.0, 0.0, 0.1])
    assert len(list(open_source(tmp_path / "out.mp4"))) == 4


def test_colours_survive(tmp_path):
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [200, 120, 40]], np.uint8)
    picture = colours.repeat(32, 0)[None].repeat(64, 0)
    with VideoWriter(tmp_path / "out.mp4", 30, picture.shape[:2], quality=10) as writer:
        writer.write(picture, 0.0)
    context, _ = stream_of(tmp_path / "out.mp4")
    assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
    back = next(iter(open_source(tmp_path / "out.mp4"))).image.astype(int)
    middles = slice(16, None, 32)
    assert np.abs(back[32, middles] - picture[32, middles]).max() <= 6


@pytest.mark.parametrize("size", [(1, 1), (45, 128), (48, 127), (719, 405)])
def test_odd_sizes_get_one_row_or_column_more(tmp_path, size):
    image = np.full((*size, 3), 90, np.uint8)
    with VideoWriter(tmp_path / "out.mp4", 30, size) as writer:
        writer.write(image, 0.0)
    back = next(iter(open_source(tmp_path / "out.mp4"))).image
    assert back.shape[:2] == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert np.abs(back.astype(int) - 90).max() <= 4


def test_pictures_of_another_size_are_fitted_in(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", 30, (64, 128)) as writer:
        writer.write(np.full((64, 128, 3), 200, np.uint8), 0.0)
        writer.write(np.full((128, 128, 3), 200, np.uint8), 0.1)
    image = [frame.image for frame in open_source(tmp_path / "out.mp4")][1]
    assert image[32, 64].min() > 180
    assert image[32, 10].max() < 30
    assert image[32, 118].max() < 30


@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "flac", "pcm_s16le", "ac3"])
def test_sound_comes_along_in_step(make_video, tmp_path, codec):
    """The source's sound jumps from 400 to 1600 Hz half way through."""
    source = make_video("source.mkv", count=90, sound=codec)
    write(tmp_path / "out.mp4", 60, times=[1 + i / 30 for i in range(60)], audio_from=source)
    samples, begin = sound_of(tmp_path / "out.mp4")
    assert begin < 0.1
    assert len(samples) / SOUND_RATE == pytest.approx(2, abs=0.1)
    rising = np.diff(np.signbit(samples)).astype(int)
    window = SOUND_RATE // 50
    crossings = np.convolve(rising, np.ones(window), "valid")  # 16 for 400 Hz, 64 for 1600 Hz
    crossings[: SOUND_RATE // 5] = 0  # codecs begin with noise
    change = np.argmax(crossings > 40) / SOUND_RATE + 0.01 + begin
    assert change == pytest.approx(0.5, abs=0.05), "1.5 s in the source"
    with av.open(tmp_path / "out.mp4") as file:
        written = file.streams.audio[0].codec_context.codec.canonical_name
    assert written == {"libmp3lame": "mp3", "flac": "flac"}.get(codec, "aac")


def test_pictures_and_sound_lie_side_by_side(make_video, tmp_path):
    source = make_video("source.mp4", count=150, sound="aac")
    write(tmp_path / "out.mp4", 150, audio_from=source)
    with av.open(tmp_path / "out.mp4") as file:
        times = {0: 0.0, 1: 0.0}
        for packet in file.demux():
            if packet.dts is not None:
                times[packet.stream_index] = float(packet.dts * packet.time_base)
                assert abs(times[0] - times[1]) < 2


def test_a_source_without_sound(make_video, tmp_path):
    write(tmp_path / "out.mp4", audio_from=make_video())
    assert not open_source(tmp_path / "out.mp4").has_audio


def test_sound_that_cannot_be_read_is_left_out_with_a_warning(tmp_path, caplog):
    write(tmp_path / "out.mp4", audio_from=tmp_path / "missing.mp4")
    assert "the sound of" in caplog.text
    assert len(list(open_source(tmp_path / "out.mp4"))) == 20


def test_an_interruption_leaves_a_valid_video(tmp_path):
    def interrupted():
        with VideoWriter(tmp_path / "out.mp4", 30, (48, 128)) as writer:
            for index in range(7):
                writer.write(numbered(index), index / 30)
            assert not (tmp_path / "out.mp4").exists(), "not before it is whole"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [number_in(frame.image) for frame in open_source(tmp_path / "out.mp4")] == list(range(7))


def test_without_pictures_there_is_no_file(tmp_path):
    VideoWriter(tmp_path / "out.mp4", 30, (48, 128)).close()
    assert list(tmp_path.iterdir()) == []


def test_closing_twice_does_nothing(tmp_path):
    writer = VideoWriter(tmp_path / "out.mp4", 30, (48, 128))
    writer.write(numbered(0), 0.0)
    writer.close()
    writer.close()


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(FourDHumansError, match=r"cannot write the video .*out\.mp4: No such file") as error:
        VideoWriter(tmp_path / "missing" / "out.mp4", 30, (48, 128))
    assert "\n" not in str(error.value)


def test_a_full_disk_gives_one_line_and_leaves_no_broken_file(tmp_path):
    """A limit on the size of files stands for the full disk: FFmpeg's writes fail half way."""
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        with VideoWriter(tmp_path / "out.mp4", 30, (480, 640), quality=5) as writer:
            for index in range(60):
                writer.write(np.roll(noise, 37 * index, axis=1), index / 30)

    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        with pytest.raises(FourDHumansError, match="cannot write the video") as error:
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(error.value)
    assert error.value.__cause__.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []
