"""Result files: whole after whatever ends a run, readable by joblib, and unharmed by what is already there."""

import errno
import gc
import os
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import joblib
import numpy as np
import pytest
from pycocotools import mask as coco
from same import assert_same

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.people import Bodies, Detections, Mask
from fourd_humans.results import ResultWriter, load_tracklets


def write(path, frames, **options):
    with ResultWriter(path, **options) as writer:
        for frame in frames:
            writer.write(frame)


def test_what_is_written_comes_back(tmp_path, make_frame):
    frames = [make_frame(index, count) for index, count in enumerate([0, 3, 1, 2])]
    write(tmp_path / "a.pkl", frames)
    tracklets = load_tracklets(tmp_path / "a.pkl")
    assert tracklets.complete
    assert len(tracklets) == 4
    for frame, back in zip(frames, tracklets, strict=True):
        if not len(frame):  # of nobody it cannot be told whether something was None
            frame = make_frame(frame.index, 0)
            for name in ("masks", "keypoints", "annotations"):
                setattr(frame.detections, name, None)
        assert_same(frame, back, tolerance=1e-4)
        assert_same(frame.detections.boxes, back.detections.boxes)
        assert_same(frame.bodies.camera, back.bodies.camera)


def test_what_is_not_there_stays_so(tmp_path, make_frame):
    frame = make_frame(predicted_pose=None, predicted_location=None)
    for name in ("masks", "keypoints", "annotations"):
        setattr(frame.detections, name, None)
    frame.bodies.confidence = None
    write(tmp_path / "a.pkl", [frame])
    assert_same(frame, load_tracklets(tmp_path / "a.pkl")[0], tolerance=1e-4)


def test_hidden_people_without_a_mask(tmp_path, make_frame):
    frame = make_frame()
    frame.detections.masks[1] = None
    write(tmp_path / "a.pkl", [frame])
    masks = joblib.load(tmp_path / "a.pkl")["000000"]["mask"]
    assert [coco.area(mask[0]) > 0 for mask in masks] == [True, False, True]
    assert_same(frame, load_tracklets(tmp_path / "a.pkl")[0], tolerance=1e-4)


def test_joblib_reads_it_without_this_package(tmp_path, make_frame):
    write(tmp_path / "a.pkl", [make_frame(0, 0), make_frame(1, 3)])
    script = (
        "import sys, joblib; results = joblib.load(sys.argv[1]); frame = results['000001']; "
        "assert frame['3d_joints'][2].shape == (45, 3) and frame['tracked_time'] == [0, 4, -1]; "
        "frame['3d_joints'][0] += 1; assert results['000000']['tid'] == [] and 'fourd_humans' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script, tmp_path / "a.pkl"], check=True)


def test_textures_only_when_asked_for(tmp_path, make_frame):
    frame = make_frame(0, 1, texture=True)
    write(tmp_path / "without.pkl", [frame])
    write(tmp_path / "with.pkl", [frame], textures=True)
    assert "uv" not in joblib.load(tmp_path / "without.pkl")["000000"]
    entry = joblib.load(tmp_path / "with.pkl")["000000"]
    np.testing.assert_array_equal(entry["uv"][0], frame.bodies.texture[0])
    assert_same(load_tracklets(tmp_path / "with.pkl")[0].bodies.texture, frame.bodies.texture)


def test_frames_of_a_folder_have_the_paths_of_their_images(tmp_path, make_frame):
    write(tmp_path / "a.pkl", [make_frame(name="a.jpg")], folder="some/where")
    entry = joblib.load(tmp_path / "a.pkl")["some/where/a.jpg"]
    assert entry["img_path"][0] == "some/where/a.jpg"
    assert entry["img_name"][0] == "a.jpg"
    tracklets = load_tracklets(tmp_path / "a.pkl")
    assert tracklets.folder == "some/where"
    assert tracklets[0].name == "a.jpg"


def test_no_frames_at_all(tmp_path):
    write(tmp_path / "a.pkl", [])
    assert joblib.load(tmp_path / "a.pkl") == {}
    assert len(load_tracklets(tmp_path / "a.pkl")) == 0


def test_a_frame_that_could_not_be_read_says_why(tmp_path, make_frame):
    nobody = np.zeros(0, np.int64)
    frame = make_frame(0, 0, error="the picture is damaged", size=(0, 0), ids=nobody, time_since_seen=nobody,
                       detections=Detections.empty(), bodies=Bodies.empty("open"), predicted_pose=None,
                       predicted_location=None, detected=0)  # fmt: skip
    write(tmp_path / "a.pkl", [frame])
    assert_same(frame, load_tracklets(tmp_path / "a.pkl")[0])


def test_an_interruption_leaves_a_whole_file(tmp_path, make_frame):
    def interrupted():
        with ResultWriter(tmp_path / "a.pkl") as writer:
            writer.write(make_frame(0))
            assert not (tmp_path / "a.pkl").exists(), "not before it is whole"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(joblib.load(tmp_path / "a.pkl")) == ["000000"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.pkl"]


MADE_WITH = {"version": "1", "settings": {"a": [1, 2.5, None]}, "weights": {}, "body": "open", "focal_length": 1234.5}


@pytest.mark.parametrize(("close", "expected"), [
    ({}, (True, None)),
    ({"complete": False, "reason": "stopped"}, (False, "stopped")),
])  # fmt: skip
def test_a_result_says_whether_it_is_complete_and_what_made_it(tmp_path, make_frame, close, expected):
    with ResultWriter(tmp_path / "a.pkl", made_with=MADE_WITH) as writer:
        for index in range(3):
            writer.write(make_frame(index, index))
        writer.close(**close)
    tracklets = load_tracklets(tmp_path / "a.pkl")
    assert (tracklets.complete, tracklets.reason) == expected
    assert tracklets.made_with == MADE_WITH
    results = joblib.load(tmp_path / "a.pkl")
    assert list(results) == ["000000", "000001", "000002"], "no other keys than frames"
    assert results["000000"]["made_with"] == MADE_WITH
    assert results["000002"]["end"] == {"complete": expected[0], "reason": expected[1], "frames": 3}
    tracklets[:2].save(tmp_path / "b.pkl")
    part = load_tracklets(tmp_path / "b.pkl")
    assert (len(part), part.complete, part.reason, part.made_with) == (2, *expected, MADE_WITH)


def test_an_error_leaves_no_result_but_the_frames_before(tmp_path, make_frame, caplog):
    def broken():
        with ResultWriter(tmp_path / "a.pkl", made_with=MADE_WITH) as writer:
            writer.write(make_frame(0))
            raise ValueError("something\nbroke")

    with pytest.raises(ValueError, match="something"):
        broken()
    assert [path.name for path in tmp_path.iterdir()] == ["a.pkl.partial"]
    tracklets = load_tracklets(tmp_path / "a.pkl.partial")
    assert (len(tracklets), tracklets.complete, tracklets.reason) == (1, False, "something broke")
    assert list(joblib.load(tmp_path / "a.pkl.partial")) == ["000000"]
    assert "a.pkl.partial" in caplog.text


def test_an_error_before_the_first_frame_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="nothing"), ResultWriter(tmp_path / "a.pkl"):
        raise ValueError("nothing")
    assert not list(tmp_path.iterdir())


def test_a_run_that_has_just_begun_has_no_frames_yet(tmp_path, make_frame):
    writer = ResultWriter(tmp_path / "a.pkl")
    assert len(load_tracklets(tmp_path / "a.pkl.partial")) == 0
    writer.write(make_frame(0))
    assert len(load_tracklets(tmp_path / "a.pkl.partial")) == 1
    writer.close()


def test_masks_take_no_memory_until_they_are_asked_for(tmp_path, make_frame):
    size = (3000, 4000)
    frame = make_frame(0, 1, size=size)
    frame.detections.masks = [Mask(np.ones((2500, 3500), bool), 100, 100, size)]
    write(tmp_path / "a.pkl", [replace(frame, index=n, name=str(n)) for n in range(40)])
    tracemalloc.start()
    tracklets = load_tracklets(tmp_path / "a.pkl")
    assert tracemalloc.get_traced_memory()[1] < 10e6, "one mask has 9 million pixels"
    tracemalloc.stop()
    mask = tracklets[0].detections.masks[0]
    assert (mask.left, mask.top, mask.pixels.shape) == (100, 100, (2500, 3500))


def test_a_killed_run_leaves_all_its_frames(tmp_path):
    script = """
import os, signal, sys
from fourd_humans.people import Bodies, Detections, TrackedFrame
from fourd_humans.results import ResultWriter
import numpy as np
nobody = np.zeros(0, np.int64)
writer = ResultWriter(sys.argv[1])
for i in range(9):
    frame = TrackedFrame(i, i / 30, f"{i:06d}", (10, 10), nobody, nobody, Detections.empty(), Bodies.empty("open"))
    writer.write(frame)
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = subprocess.run([sys.executable, "-c", script, tmp_path / "a.pkl"], check=False)
    assert process.returncode == -signal.SIGKILL
    tracklets = load_tracklets(tmp_path / "a.pkl.partial")
    assert [frame.index for frame in tracklets] == list(range(9))
    assert not tracklets.complete


def test_a_file_cut_anywhere_gives_its_whole_frames(tmp_path, make_frame, caplog):
    frames = [make_frame(index, 2) for index in range(5)]
    sizes = []
    with ResultWriter(tmp_path / "a.pkl") as writer:
        for frame in frames:
            writer.write(frame)
            sizes.append(os.path.getsize(tmp_path / "a.pkl.partial"))
    data = (tmp_path / "a.pkl").read_bytes()
    for length in [*range(sizes[0], len(data) - 6, 997), *sizes]:
        (tmp_path / "cut.pkl").write_bytes(data[:length])
        tracklets = load_tracklets(tmp_path / "cut.pkl")
        assert len(tracklets) == sum(size <= length for size in sizes)
        assert not tracklets.complete
        for frame, back in zip(frames, tracklets, strict=False):
            assert_same(frame.bodies.joints_3d, back.bodies.joints_3d)
    assert "ends early" in caplog.text


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path, make_frame):
    def held():
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    frame = make_frame(0, 1)
    with ResultWriter(tmp_path / "a.pkl") as writer:
        for _ in range(50):
            writer.write(frame)
        tracemalloc.start()
        before = held()
        for _ in range(100):
            writer.write(frame)
        grown = held() - before
        tracemalloc.stop()
    assert grown < 100 * 1000, "a frame's entry is 20 times that"


def test_existing_files_are_safe_without_overwrite(tmp_path, make_frame):
    write(tmp_path / "a.pkl", [make_frame()])
    before = (tmp_path / "a.pkl").read_bytes()
    with pytest.raises(UsageError, match=r"a\.pkl exists; use --overwrite"):
        ResultWriter(tmp_path / "a.pkl")
    assert (tmp_path / "a.pkl").read_bytes() == before
    write(tmp_path / "a.pkl", [], overwrite=True)
    assert joblib.load(tmp_path / "a.pkl") == {}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_where_the_file_should_go_is_refused_at_once(tmp_path, overwrite):
    (tmp_path / "a.pkl").mkdir()
    with pytest.raises(UsageError, match=r"a\.pkl: it is a folder"):
        ResultWriter(tmp_path / "a.pkl", overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pkl"]


def test_what_a_killed_run_left_is_safe_without_overwrite(tmp_path):
    (tmp_path / "a.pkl.partial").write_bytes(b"hours of work")
    with pytest.raises(UsageError, match=r"interrupted run.*--overwrite"):
        ResultWriter(tmp_path / "a.pkl")
    assert (tmp_path / "a.pkl.partial").read_bytes() == b"hours of work"
    ResultWriter(tmp_path / "a.pkl", overwrite=True).close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.pkl"]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path, make_frame):
    write(tmp_path / "a.pkl", [make_frame()])
    writer = ResultWriter(tmp_path / "a.pkl", overwrite=True)
    assert list(joblib.load(tmp_path / "a.pkl")) == ["000000"]
    writer.close()


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(UsageError, match=r"cannot write .*No such file or directory"):
        ResultWriter(tmp_path / "missing" / "a.pkl")


def test_a_full_disk_gives_one_line_and_keeps_what_was_written(tmp_path, make_frame, monkeypatch):
    writer = ResultWriter(tmp_path / "a.pkl")
    writer.write(make_frame(0))

    class Full:
        def seek(self, offset):
            pass

        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer._dict, "_file", Full())
    with pytest.raises(FourDHumansError, match=r"No space left on device; .* in .*a\.pkl\.partial$"):
        writer.write(make_frame(1))
    writer.close()
    assert not (tmp_path / "a.pkl").exists()
    assert len(load_tracklets(tmp_path / "a.pkl.partial")) == 1


def test_a_disk_that_is_full_from_the_start(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    os.symlink("/dev/full", tmp_path / "a.pkl.partial")
    with pytest.raises(FourDHumansError, match="No space left on device"):
        ResultWriter(tmp_path / "a.pkl", overwrite=True)


@pytest.mark.parametrize("content", [b"", b"text", b"\x78\x9c broken", b"\x80\x03]."])
def test_what_is_no_result_file(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(FourDHumansError, match=r"a\.pkl is no result file") as error:
        load_tracklets(tmp_path / "a.pkl")
    assert "\n" not in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        load_tracklets(tmp_path / "a.pkl")
    with pytest.raises(FourDHumansError, match="cannot read"):
        load_tracklets(tmp_path)


def test_a_frame_with_something_missing_is_named(tmp_path, make_frame):
    write(tmp_path / "a.pkl", [make_frame(5)])
    results = joblib.load(tmp_path / "a.pkl")
    del results["000005"]["smpl"]
    joblib.dump(results, tmp_path / "b.pkl")
    with pytest.raises(FourDHumansError, match="frame '000005' lacks 'smpl'"):
        load_tracklets(tmp_path / "b.pkl")
    results = joblib.load(tmp_path / "a.pkl")
    results["000005"]["camera"].pop()
    joblib.dump(results, tmp_path / "b.pkl")
    with pytest.raises(FourDHumansError, match="'camera' has 2 values for 3 people"):
        load_tracklets(tmp_path / "b.pkl")
