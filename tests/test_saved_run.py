"""Runs that are killed and gone on with: the results are those of a run that was never interrupted."""

import shutil
import time

import av
import joblib
import numpy as np
import pytest
from white_squares import WhiteSquares, picture, write_squares

from fourd_humans import saved_run
from fourd_humans.config import apply_settings, default_config
from fourd_humans.errors import UsageError
from fourd_humans.pipeline import Pipeline
from fourd_humans.rendering.renderer import Renderer
from fourd_humans.results import ResultWriter, load_tracklets
from fourd_humans.run import track

FRAMES = 90


@pytest.fixture(scope="module")
def squares():
    return WhiteSquares()


@pytest.fixture(scope="module")
def pipeline(squares):
    config = apply_settings(default_config(), ["motion.predictor=hold"])
    return Pipeline(config, detector=squares.detect, recovery=squares.recover, appearance=squares.texture)


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(saved_run, "VIDEO_INTERVAL", 0.3)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A square that is hidden now and then, for longer than the tracker needs to believe in a person."""
    path = tmp_path_factory.mktemp("video") / "squares.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "10", "qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 80, "yuv444p"
        for t in range(FRAMES):
            image = picture(t) if t % 30 < 22 else np.zeros((80, 160, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def snapshots(video, tmp_path, pipeline, every=19, **options):
    """Run; also what a run that is killed leaves behind, at several places. The files are whole on the disk."""
    kept = []

    def keep(frame):
        if frame.index % every == every - 1:
            drawn = tmp_path / "whole" / "squares.mp4.partial"
            while options.get("render") and frame.index > FRAMES / 2 and not drawn.stat().st_size:
                time.sleep(0.05)  # drawing is a little behind
            kept.append(shutil.copytree(tmp_path / "whole", tmp_path / f"killed{frame.index}"))

    track(video, tmp_path / "whole", pipeline=pipeline, on_frame=keep, **options)
    return kept


def assert_same(folder, other):
    one, two = (joblib.load(f / "squares.pkl") for f in (folder, other))
    assert list(one) == list(two)
    for key in one:
        assert repr(one[key]) == repr(two[key]), key
        for field in ("pose", "camera", "bbox", "3d_joints"):
            np.testing.assert_array_equal(one[key][field], two[key][field])


def test_going_on_gives_the_results_of_a_run_that_was_never_killed(video, tmp_path, pipeline, squares, often):
    killed = snapshots(video, tmp_path, pipeline)
    assert len(killed) == 4
    for folder in killed:
        before = joblib.load(folder / "squares.pkl.partial")
        assert before, "the partial results can be loaded by anybody"
        assert not load_tracklets(folder / "squares.pkl.partial").complete
        squares.batches.clear()
        result = track(video, folder, pipeline=pipeline, resume=True)
        assert_same(folder, tmp_path / "whole")
        assert result.frames == FRAMES
        assert result.people == {1: sum(len(f["tracked_ids"]) for f in joblib.load(folder / "squares.pkl").values())}
        assert load_tracklets(folder / "squares.pkl").complete
        assert {path.name for path in folder.iterdir()} == {"squares.pkl"}
        assert sum(squares.batches) <= FRAMES - len(before) + 20, "not much is done again"


def test_a_run_that_was_stopped_can_be_gone_on_with_too(video, tmp_path, pipeline, often):
    track(video, tmp_path / "whole", pipeline=pipeline)
    done = []
    result = track(video, tmp_path / "stopped", pipeline=pipeline, on_frame=done.append, stop=lambda: len(done) > 40)
    assert not result.complete
    assert (tmp_path / "stopped" / "squares.pkl").exists()
    track(video, tmp_path / "stopped", pipeline=pipeline, resume=True)
    assert_same(tmp_path / "stopped", tmp_path / "whole")


def test_a_run_that_was_killed_while_drawing(video, tmp_path, pipeline, often, monkeypatch):
    monkeypatch.setattr("fourd_humans.video.writer.FRAGMENT", 0.3)
    monkeypatch.setattr(pipeline, "refine", None)  # for which this short video would wait to its end
    killed = snapshots(video, tmp_path, pipeline, every=29, render=True)
    for folder in killed:
        if folder.name == "killed86":
            with av.open(str(folder / "squares.mp4.partial")) as partial:
                assert sum(1 for _ in partial.decode(video=0)) >= 1, "it can be played up to there"
        track(video, folder, pipeline=pipeline, resume=True, render=True)
        assert_same(folder, tmp_path / "whole")
        with av.open(str(folder / "squares.mp4")) as one, av.open(str(tmp_path / "whole" / "squares.mp4")) as two:
            pictures = [[f.to_ndarray(format="rgb24").astype(int) for f in c.decode(video=0)] for c in (one, two)]
        assert len(pictures[0]) == len(pictures[1]) == FRAMES
        assert max(np.abs(a - b).mean() for a, b in zip(*pictures, strict=True)) < 3
        assert {path.name for path in folder.iterdir()} == {"squares.pkl", "squares.mp4"}


def test_a_video_that_is_ahead_of_what_was_saved_has_no_picture_twice(video, tmp_path, pipeline, often, monkeypatch):
    monkeypatch.setattr("fourd_humans.video.writer.FRAGMENT", 0.3)
    monkeypatch.setattr(pipeline, "refine", None)
    first, _, folder = snapshots(video, tmp_path, pipeline, every=29, render=True)
    shutil.copy(first / "squares.pkl.state", folder / "squares.pkl.state")
    track(video, folder, pipeline=pipeline, resume=True, render=True)
    assert_same(folder, tmp_path / "whole")
    assert pictures_in(folder) == FRAMES


def test_a_run_that_was_killed_when_only_its_video_was_not_done(video, tmp_path, pipeline, squares, monkeypatch):
    close, draw = ResultWriter.close, Renderer.draw

    def close_and_keep(self, **options):
        close(self, **options)
        if not (tmp_path / "killed").exists():
            shutil.copytree(tmp_path / "whole", tmp_path / "killed")

    monkeypatch.setattr(ResultWriter, "close", close_and_keep)
    monkeypatch.setattr(Renderer, "draw", lambda self, *args: time.sleep(0.01) or draw(self, *args))
    track(video, tmp_path / "whole", pipeline=pipeline, render=True)
    folder = tmp_path / "killed"
    assert {path.name for path in folder.iterdir()} == {"squares.pkl", "squares.pkl.state", "squares.mp4.partial"}
    squares.batches.clear()
    assert track(video, folder, pipeline=pipeline, render=True, resume=True).frames == FRAMES
    assert not squares.batches, "nobody is looked for again"
    assert_same(folder, tmp_path / "whole")
    assert pictures_in(folder) == FRAMES
    assert {path.name for path in folder.iterdir()} == {"squares.pkl", "squares.mp4"}


def test_a_run_that_was_killed_while_drawing_after_tracking(video, tmp_path, squares, monkeypatch):
    monkeypatch.setattr("fourd_humans.video.writer.FRAGMENT", 0.3)
    config = apply_settings(default_config(), ["motion.predictor=hold", "render.views=[overlay,top]"])
    pipeline = Pipeline(config, detector=squares.detect, recovery=squares.recover, appearance=squares.texture)
    draw, drawn = Renderer.draw, []

    def draw_and_keep(self, *arguments):
        drawn.append(arguments)
        if len(drawn) == 75:
            shutil.copytree(tmp_path / "whole", tmp_path / "killed")
        return draw(self, *arguments)

    monkeypatch.setattr(Renderer, "draw", draw_and_keep)
    track(video, tmp_path / "whole", pipeline=pipeline, render=True, exports=["mot"])
    assert len(drawn) == FRAMES
    squares.batches.clear()
    folder = tmp_path / "killed"
    track(video, folder, pipeline=pipeline, render=True, exports=["mot"], resume=True)
    assert not squares.batches, "nobody is looked for again"
    assert len(drawn) < 2 * FRAMES, "what was drawn is kept"
    assert_same(folder, tmp_path / "whole")
    assert pictures_in(folder) == FRAMES
    assert {path.name for path in folder.iterdir()} == {"squares.pkl", "squares.mp4", "squares_mot.txt"}


def pictures_in(folder):
    with av.open(str(folder / "squares.mp4")) as video:
        return sum(1 for _ in video.decode(video=0))


def test_other_settings_or_sources_are_not_gone_on_with(video, tmp_path, pipeline, often):
    (folder, *_) = snapshots(video, tmp_path, pipeline, every=60)
    other = write_squares(tmp_path / "squares.mp4", FRAMES)
    with pytest.raises(UsageError, match="another source; use --overwrite"):
        track(other, folder, pipeline=pipeline, resume=True)
    (folder / "squares.pkl.state").write_bytes(b"damaged")
    with pytest.raises(UsageError, match="damaged"):
        track(video, folder, pipeline=pipeline, resume=True)
    track(video, folder, pipeline=pipeline, resume=True, overwrite=True)
    assert_same(folder, tmp_path / "whole")


def test_without_anything_to_go_on_with_it_begins(video, tmp_path, pipeline):
    assert track(video, tmp_path, pipeline=pipeline, resume=True).frames == FRAMES


def test_a_run_that_was_killed_before_it_was_saved_begins_anew(video, tmp_path, pipeline):
    (folder,) = snapshots(video, tmp_path, pipeline, every=60)
    assert not (folder / "squares.pkl.state").exists(), "in three seconds of video"
    track(video, folder, pipeline=pipeline, resume=True)
    assert_same(folder, tmp_path / "whole")
    with pytest.raises(UsageError, match="exists"):
        track(video, folder, pipeline=pipeline, resume=True)
