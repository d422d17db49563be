"""The command as a user meets it: on good input it leaves files, on bad input one clear line and an exit code."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import joblib
import numpy as np
import pytest
from click.testing import CliRunner

import fourd_humans
from fourd_humans.cli import main
from fourd_humans.cli.track import configuration
from fourd_humans.config import default_config
from fourd_humans.errors import UsageError
from fourd_humans.video.source import open_source

DEMO = Path(__file__).parents[2] / "demo_videos"
TWO_PEOPLE = str(DEMO / "two_people.mp4")


@pytest.fixture
def run(tmp_path):
    """Run ``4dhumans track`` with its output in a temporary folder; gives the result and that folder."""

    def run(*arguments, output=tmp_path / "out"):
        command = ["track", *map(str, arguments), "--output", str(output)]
        return CliRunner().invoke(main, command), output

    return run


def write_video(path, images, rate=30):
    """A key frame every five, so that a part of the file is about as large a part of the frames."""
    with av.open(str(path), "w") as container:
        height, width = images[0].shape[:2]
        stream = container.add_stream("libx264", rate=rate, options={"g": "5"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in images:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.fixture(scope="module")
def person():
    """A picture with people in it: a frame of the demo video, half as large."""
    frame = next(iter(open_source(TWO_PEOPLE))).image
    return cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def complains(result, code, *words):
    """One line that says it all, no traceback, the right exit code."""
    assert result.exit_code == code, result.output
    message = result.output.strip()
    lines = [line for line in message.splitlines() if not line.startswith(("Usage:", "Try '")) and line]
    assert len(lines) == 1, message
    assert "Traceback" not in message
    for word in words:
        assert word in message


def test_a_video_becomes_results_and_a_video(run):
    result, output = run(TWO_PEOPLE, "--render", "--export", "glb", "--end", 12)
    assert result.exit_code == 0, result.output
    results = joblib.load(output / "two_people.pkl")
    assert len(results) == 12
    assert all(len(frame["tid"]) >= 2 for frame in results.values())
    files = [str(output / f"two_people.{ending}") for ending in ("pkl", "mp4", "glb")]
    assert result.output.splitlines()[-3:] == files
    assert (output / "two_people.glb").stat().st_size > 100_000
    with av.open(str(output / "two_people.mp4")) as video:
        stream = video.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert sum(1 for _ in video.decode(stream)) == 12


def test_python_does_what_the_command_does(tmp_path):
    seen = []
    result = fourd_humans.track(
        TWO_PEOPLE, tmp_path, on_frame=lambda frame: seen.append(frame.index), stop=lambda: len(seen) > 5
    )
    tracklets = fourd_humans.load_tracklets(result.results)
    assert len(tracklets.frames) == result.frames == len(seen)
    assert not result.complete


def test_results_say_whether_they_are_complete_and_what_made_them(tmp_path):
    seen = []
    stopped = fourd_humans.track(
        TWO_PEOPLE, tmp_path / "stopped", on_frame=lambda frame: seen.append(frame), stop=lambda: len(seen) > 0
    )
    tracklets = fourd_humans.load_tracklets(stopped.results)
    assert (tracklets.complete, tracklets.reason) == (False, "stopped")
    made_with = tracklets.made_with
    assert made_with["version"] == fourd_humans.__version__
    assert made_with["settings"]["tracking"]["max_age"] == 50
    assert made_with["body"] == "open_body"
    assert made_with["focal_length"] == pytest.approx(tracklets[0].bodies.focal_length)
    assert set(made_with["weights"]) == {"detection", "recovery", "motion", "body"}
    body = Path(fourd_humans.__file__).parent / "body" / "data" / "open_body_neutral.npz"
    sha256 = hashlib.sha256(body.read_bytes()).hexdigest()
    assert made_with["weights"]["body"] == {"file": "open_body_neutral.npz", "sha256": sha256}


def test_a_run_that_ends_with_an_error_leaves_no_result_but_its_frames(tmp_path, caplog):
    def fail(frame):
        if frame.index == 2:
            raise RuntimeError("the third frame")

    with pytest.raises(RuntimeError):
        fourd_humans.track(TWO_PEOPLE, tmp_path, on_frame=fail)
    names = {path.name for path in tmp_path.iterdir()}
    assert names - {"two_people.pkl.state"} == {"two_people.pkl.partial"}  # a slow machine has saved its state by then
    tracklets = fourd_humans.load_tracklets(tmp_path / "two_people.pkl.partial")
    assert (len(tracklets), tracklets.complete, tracklets.reason) == (3, False, "the third frame")
    assert "two_people.pkl.partial" in caplog.text


def test_one_image_is_a_source(run, tmp_path, person):
    cv2.imwrite(str(tmp_path / "picture.png"), person[..., ::-1])
    result, output = run(tmp_path / "picture.png", "--render")
    assert result.exit_code == 0, result.output
    (frame,) = joblib.load(output / "picture.pkl").values()
    assert len(frame["tid"]) >= 2
    drawn = cv2.imread(str(output / "picture.jpg"))[..., ::-1]
    difference = np.abs(drawn.astype(int) - person).max(axis=2)
    x, y, width, height = frame["bbox"][0].astype(int)
    middle = difference[y + height // 3 : y + height // 2, x + width // 3 : x + 2 * width // 3]
    assert np.median(middle) > 40  # a coloured body
    assert np.median(difference) < 6  # and elsewhere the picture
    assert sorted(path.suffix for path in output.iterdir()) == [".jpg", ".json", ".pkl"]


def test_a_video_is_not_rendered_into_a_picture(run, tmp_path):
    result, output = run(TWO_PEOPLE, "--end", 6)
    assert result.exit_code == 0, result.output
    command = ["render", str(output / "two_people.pkl"), TWO_PEOPLE, "--output", str(tmp_path / "drawn.png")]
    complains(CliRunner().invoke(main, command), 2, "drawn.png", ".mp4")


def test_a_folder_of_images_may_be_grey_or_transparent(run, tmp_path, person):
    folder = tmp_path / "frames"
    folder.mkdir()
    cv2.imwrite(str(folder / "1.png"), cv2.cvtColor(person, cv2.COLOR_RGB2GRAY))
    cv2.imwrite(str(folder / "2.png"), cv2.cvtColor(person, cv2.COLOR_RGB2BGRA))
    cv2.imwrite(str(folder / "10.jpg"), person[..., ::-1])
    result, output = run(folder)
    assert result.exit_code == 0, result.output
    frames = list(joblib.load(output / "frames.pkl").values())
    assert [len(frame["tid"]) >= 2 for frame in frames] == [True] * 3
    assert [Path(frame["frame_path"]).name for frame in frames] == ["1.png", "2.png", "10.jpg"]


def test_nobody_in_the_video_is_no_failure(run, tmp_path):
    write_video(tmp_path / "empty.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 8)
    result, output = run(tmp_path / "empty.mp4", "--render")
    assert result.exit_code == 0, result.output
    frames = joblib.load(output / "empty.pkl").values()
    assert [frame["tid"] for frame in frames] == [[]] * 8


@pytest.mark.parametrize("size", [(1, 1), (67, 35)])
def test_tiny_and_odd_sizes_pass(run, tmp_path, size):
    (tmp_path / "small").mkdir()
    cv2.imwrite(str(tmp_path / "small" / "1.png"), np.full((*size, 3), 127, np.uint8))
    result, output = run(tmp_path / "small", "--render")
    assert result.exit_code == 0, result.output
    assert (output / "small.mp4").exists()
    result, output = run(tmp_path / "small" / "1.png", "--render")
    assert result.exit_code == 0, result.output
    assert cv2.imread(str(output / "1.jpg")).shape[:2] == tuple(side + side % 2 for side in size)


@pytest.mark.slow
def test_8k_passes(run, tmp_path, person):
    cv2.imwrite(str(tmp_path / "large.jpg"), cv2.resize(person, (4320, 7680))[..., ::-1])
    result, output = run(tmp_path / "large.jpg", "--render")
    assert result.exit_code == 0, result.output
    (frame,) = joblib.load(output / "large.pkl").values()
    assert len(frame["tid"]) >= 2


def test_a_missing_file(run, tmp_path):
    complains(run(tmp_path / "nowhere.mp4")[0], 2, "nowhere.mp4")


def test_a_folder_without_images(run, tmp_path):
    (tmp_path / "empty").mkdir()
    complains(run(tmp_path / "empty")[0], 2, "empty")


@pytest.mark.parametrize("content", [b"", b"this is no video at all, whatever it is called"])
def test_not_a_video(run, tmp_path, content):
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    complains(run(path)[0], 1, "film.mp4")


def test_a_video_that_is_cut_off_keeps_its_good_frames(run, tmp_path, person):
    path = write_video(tmp_path / "whole.mp4", [person] * 40)
    with av.open(str(path)) as source, av.open(str(tmp_path / "whole.ts"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = (tmp_path / "whole.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[: len(data) * 2 // 3])
    result, output = run(tmp_path / "cut.ts")
    assert result.exit_code == 0, result.output
    frames = joblib.load(output / "cut.pkl").values()
    assert sum(len(frame["tid"]) >= 2 for frame in frames) >= 10


def test_existing_output_is_not_overwritten_unasked(run, tmp_path):
    write_video(tmp_path / "v.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3)
    assert run(tmp_path / "v.mp4")[0].exit_code == 0
    complains(run(tmp_path / "v.mp4")[0], 2, "v.pkl", "--overwrite")
    assert run(tmp_path / "v.mp4", "--overwrite")[0].exit_code == 0


@pytest.mark.parametrize("name", ["v.pkl", "v.mp4"])
def test_a_folder_where_an_output_should_go_is_said_before_the_run(run, tmp_path, name):
    path = write_video(tmp_path / "v.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3)
    (tmp_path / "out" / name).mkdir(parents=True)
    result, output = run(path, "--render", "--overwrite", output=tmp_path / "out")
    complains(result, 2, name, "it is a folder")
    assert [file.name for file in output.iterdir()] == [name]


def test_the_source_is_never_overwritten(run, tmp_path):
    path = write_video(tmp_path / "v.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3)
    before = path.read_bytes()
    complains(run(path, "--render", "--overwrite", output=tmp_path)[0], 2, "v.mp4", "--output")
    assert path.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user who may not write anywhere")
def test_output_in_a_folder_without_permission(run, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    complains(run(TWO_PEOPLE, output=tmp_path / "locked")[0], 2, "locked")


def test_output_where_a_file_is(run, tmp_path):
    (tmp_path / "file").write_text("")
    complains(run(TWO_PEOPLE, output=tmp_path / "file" / "out")[0], 2, "--output")


def test_a_full_disk_says_so(run, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device", str(tmp_path / "out" / "v.pkl"))

    write_video(tmp_path / "v.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3)
    monkeypatch.setattr("fourd_humans.results.store.ResultWriter.write", full)
    complains(run(tmp_path / "v.mp4")[0], 1, "space")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "tracking.max_ago=3"], ["tracking.max_age"]),
        (["--set", "tracking.max_age=many"], ["max_age"]),
        (["--focal", "1000", "--fov", "60"], ["--focal", "--fov"]),
        (["--fov", "0"], ["--fov"]),
        (["--device", "abacus"], ["abacus"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml"]),
        (["--focal", "1e300"], ["--focal"]),
        (["--device", "meta"], ["meta"]),
        (["--set", "recovery.precision=float16"], ["recovery.precision", "hmr2"]),
        (["--set", "tracking.history=1000000000"], ["tracking.history", "1000"]),
        (["--set", "model=huge"], ["huge", "lite, paper"]),
        (["--model", "lite", "--set", "model=paper"], ["--model", "--set"]),
        (["--boxes", "nowhere.txt", "--set", "detection.score_threshold=0.5"], ["precomputed"]),
        (["--set", "motion.checkpoint=nowhere.ckpt"], ["motion.checkpoint", "nowhere.ckpt"]),
        (["--set", 'motion.checkpoint="a\\0b"'], ["motion.checkpoint"]),
        (["--start", "9" * 5000], ["position in a video"]),
        (["--start", "noon"], ["noon"]),
        (["--start", "50", "--end", "10"], ["end"]),
        (["--views", "overlay,inside"], ["inside"]),
        (["--boxes", "nowhere.txt"], ["nowhere.txt"]),
    ],
)
def test_wrong_options(run, arguments, words):
    complains(run(TWO_PEOPLE, "--render", *arguments)[0], 2, *words)


def test_the_model_can_be_set_like_any_other_setting(tmp_path):
    assert configuration(settings=("model=paper",)) == default_config("paper")
    (tmp_path / "my.yaml").write_text("model: paper\ntracking: {max_age: 60}\n")
    chosen = configuration(config_file=tmp_path / "my.yaml")
    assert chosen.detection == default_config("paper").detection
    assert chosen.tracking.max_age == 60
    with pytest.raises(UsageError, match=r"my\.yaml says paper"):
        configuration(config_file=tmp_path / "my.yaml", model="lite")


def test_the_paper_model_says_what_it_misses_and_leaves_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setenv("FOURD_HUMANS_HOME", str(tmp_path / "home"))
    result, output = run(TWO_PEOPLE, "--model", "paper")
    complains(result, 2, "4dhumans models download", "vitdet-h", "hmr2b")
    assert not output.exists()


def test_verbose_shows_the_traceback(run, tmp_path):
    result, _ = run(tmp_path / "nowhere.mp4", "--verbose")
    assert result.exception is not None
    assert not isinstance(result.exception, SystemExit)


def test_quiet_prints_nothing(run, tmp_path):
    write_video(tmp_path / "v.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3)
    result, _ = run(tmp_path / "v.mp4", "--quiet")
    assert result.output == ""


def test_interrupted_results_are_valid(tmp_path):
    """Ctrl-C in the middle: what is there can be read, and the exit code says that it was interrupted."""
    command = [sys.executable, "-m", "fourd_humans", "track", TWO_PEOPLE, "--render", "--output", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*.partial")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    results = joblib.load(tmp_path / "two_people.pkl")
    with av.open(str(tmp_path / "two_people.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == len(results)
    assert 0 < len(results) < 100


def test_help_is_quick_and_loads_no_torch():
    code = "import sys; from fourd_humans.cli import main; main(['track', '--help'], standalone_mode=False); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=DEMO.parent).returncode == 0


@pytest.mark.slow
def test_actions_are_recognised_at_the_end_and_drawn(run):
    result, output = run(TWO_PEOPLE, "--end", 10, "--actions", "--render")
    assert result.exit_code == 0, result.output
    assert "two_people_actions.csv" in result.output
    lines = (output / "two_people_actions.csv").read_text().splitlines()
    assert lines[0] == "frame,time,person,number,action,score"
    with av.open(str(output / "two_people.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 10
    complains(run(TWO_PEOPLE, "--end", 10, "--actions")[0], 2, "exists")
