"""Whole videos: every image with its own people, at its own time; errors are reported."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

from fourd_humans.cli import main
from fourd_humans.errors import FourDHumansError
from fourd_humans.people import Frame
from fourd_humans.rendering.renderer import Renderer
from fourd_humans.rendering.video import render_video
from fourd_humans.results import ResultWriter
from fourd_humans.video import BadFrame, Source, VideoWriter

SIZE = (64, 96)


def frames_of(count, bad=(), size=SIZE):
    """Pictures whose grey tells their number."""
    for index in range(count):
        if index in bad:
            yield BadFrame(index, index / 10, f"{index:06}", "broken")
        else:
            yield Frame(index, index / 10, f"{index:06}", np.full((*size, 3), 20 * index, np.uint8))


def source_of(count, bad=(), size=SIZE):
    return Source(Path("clip.mp4"), "clip", size, 10.0, count, False, False, lambda: frames_of(count, bad, size))


class Recorder:
    """Takes the place of the writer."""

    last_time = None

    def __init__(self):
        self.images, self.times = [], []

    def write(self, image, time):
        self.images.append(image)
        self.times.append(time)


def people(tracked, indices):
    return [tracked([(0.0, 0, 3.0)], size=SIZE, focal_length=60.0, index=index) for index in indices]


def test_each_picture_gets_its_own_people(body_model, tracked):
    writer = Recorder()
    frames = people(tracked, range(8))
    assert render_video(source_of(8), frames, writer, Renderer(body_model).draw) == 8
    np.testing.assert_allclose(writer.times, np.arange(8) / 10)
    assert [image[0, 0, 0] for image in writer.images] == [20 * index for index in range(8)]
    for index, image in enumerate(writer.images):
        own = Renderer(body_model).draw(np.full((*SIZE, 3), 20 * index, np.uint8), frames[index])
        np.testing.assert_array_equal(image, own)


def test_a_part_of_the_video_and_broken_frames(body_model, tracked):
    writer = Recorder()
    render_video(source_of(9, bad=(5,)), people(tracked, range(3, 8)), writer, Renderer(body_model).draw)
    np.testing.assert_allclose(writer.times, [0.3, 0.4, 0.6, 0.7])


def test_people_of_another_video_are_told(body_model, tracked):
    with pytest.raises(FourDHumansError, match="no frame 4"):
        render_video(source_of(4), people(tracked, range(6)), Recorder(), Renderer(body_model).draw)
    with pytest.raises(FourDHumansError, match=r"80x50.*96x64"):
        render_video(source_of(4, size=(50, 80)), people(tracked, range(3)), Recorder(), Renderer(body_model).draw)


def test_it_keeps_few_pictures_at_once(body_model, tracked):
    """Results that come late do not make it read the whole source before."""
    read = []

    def reading():
        for frame in frames_of(12):
            read.append(frame.index)
            yield frame

    def slow():
        for frame in people(tracked, range(12)):
            assert len(read) <= frame.index + 6
            yield frame

    source = replace(source_of(12), read=reading)
    assert render_video(source, slow(), Recorder(), Renderer(body_model).draw) == 12


def test_an_error_of_the_writer_ends_it(body_model, tracked):
    class Full:
        last_time = None

        def write(self, image, time):
            raise FourDHumansError("disk full")

    with pytest.raises(FourDHumansError, match="disk full"):
        render_video(source_of(12), people(tracked, range(12)), Full(), Renderer(body_model).draw)


@pytest.fixture
def clip(tmp_path, tracked):
    """A small video and results for it."""
    video, results = tmp_path / "clip.mp4", tmp_path / "clip.pkl"
    with VideoWriter(video, 10, SIZE) as writer:
        for frame in frames_of(5):
            writer.write(frame.image, frame.time)
    with ResultWriter(results) as writer:
        for frame in people(tracked, range(5)):
            writer.write(frame)
    return video, results


def render(*arguments):
    return CliRunner().invoke(main, ["render", *map(str, arguments)])


def test_the_command_draws_results(clip, tmp_path):
    video, results = clip
    output = tmp_path / "drawn.mp4"
    result = render(results, video, "-o", output, "--views", "overlay,top")
    assert result.exit_code == 0, result.output
    assert "5 frames" in result.output
    with av.open(str(output)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) == 5
    assert images[0].shape == (64, 192, 3)
    assert np.ptp(images[0][:, :96].astype(int)) > 50  # somebody on the even grey


def test_the_command_overwrites_only_when_told(clip):
    video, results = clip
    before = video.read_bytes()
    result = render(results, video)  # clip.mp4 is the source itself
    assert result.exit_code == 2
    assert "--output" in result.output
    assert video.read_bytes() == before
    output = results.with_name("other.mp4")
    output.write_bytes(b"precious")
    result = render(results, video, "-o", output)
    assert result.exit_code == 2
    assert "--overwrite" in result.output
    assert output.read_bytes() == b"precious"
    assert render(results, video, "-o", output, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("--views", "front"), "front"), (("--alpha", "2"), "alpha"), (("--set", "render.colour=1"), "render.colour")],
)
def test_the_command_refuses_wrong_settings(clip, tmp_path, arguments, word):
    video, results = clip
    result = render(results, video, "-o", tmp_path / "x.mp4", *arguments)
    assert result.exit_code == 2
    assert word in result.output
    assert not (tmp_path / "x.mp4").exists()


def test_the_command_names_missing_files(clip, tmp_path):
    video, results = clip
    for arguments in ((tmp_path / "none.pkl", video), (results, tmp_path / "none.mp4")):
        result = render(*arguments, "-o", tmp_path / "x.mp4")
        assert result.exit_code in (1, 2)
        assert "none" in result.output
        assert "Traceback" not in result.output
