"""The released tracker's layout, no key more and none less."""

import joblib
import numpy as np
import pytest
from PIL import Image

from fourd_humans.errors import FourDHumansError
from fourd_humans.exports.job import ExportJob, ExportOptions
from fourd_humans.exports.phalp import write
from fourd_humans.results import load_tracklets
from fourd_humans.tracklets import Tracklets
from fourd_humans.video.source import open_source

RELEASED_KEYS = {
    "time", "shot", "frame_path", "tid", "bbox", "tracked_ids", "tracked_bbox", "tracked_time", "appe", "loca", "pose",
    "center", "scale", "size", "img_path", "img_name", "class_name", "conf", "annotations", "smpl", "camera",
    "camera_bbox", "3d_joints", "2d_joints", "mask", "extra_data",
}  # fmt: skip
# Where COCO's 17 keypoints are in OpenPose's 25, as SLAHMR puts them.
SLAHMR = [0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11]


@pytest.fixture
def job(walk, body_model, tmp_path):
    return ExportJob(walk, body_model, tmp_path, "walk")


def test_entries_have_the_released_keys(job, walk):
    write(job)
    entries = joblib.load(job.folder / "walk_phalp.pkl")
    assert len(entries) == len(walk)
    for entry, frame in zip(entries.values(), walk, strict=True):
        assert entry.keys() == RELEASED_KEYS
        assert entry["tid"] == frame.ids.tolist()
        for key in RELEASED_KEYS - {"time", "shot", "frame_path", "tracked_ids", "tracked_bbox"}:
            assert len(entry[key]) == len(frame), key
        for row in range(len(frame)):
            assert entry["appe"][row].shape == (4096,)
            assert not entry["appe"][row].any()
            assert entry["mask"][row][0]["size"] == list(frame.size)
            assert entry["extra_data"][row] == []


def test_it_is_read_as_the_released_tracker_s(job, walk):
    write(job)
    again = load_tracklets(job.folder / "walk_phalp.pkl")
    assert again.ids.tolist() == walk.ids.tolist()
    for one, other in zip(again, walk, strict=True):
        np.testing.assert_array_equal(one.bodies.body_pose, other.bodies.body_pose)
        np.testing.assert_array_equal(one.time_since_seen, other.time_since_seen)


def test_openpose_keypoints_for_slahmr(walk, body_model, tmp_path):
    """What SLAHMR reads of the file: keypoints of whoever is in tracked_ids, and arrays that it can squeeze."""
    write(ExportJob(walk, body_model, tmp_path, "walk", options=ExportOptions(openpose=True)))
    entries = joblib.load(tmp_path / "walk_phalp.pkl")
    for entry, frame in zip(entries.values(), walk, strict=True):
        for row in range(len(frame)):
            points = np.array(entry["extra_data"][row].tolist())
            assert points.shape == (25, 3)
            expected = frame.detections.keypoints[row] if frame.seen[row] else 0
            np.testing.assert_allclose(points[SLAHMR], expected, atol=1e-6)
            assert not points[[8, 1, 19, 24]].any()
            assert entry["camera_bbox"][row].squeeze().shape == (3,)
            assert entry["smpl"][row]["global_orient"].squeeze().shape == (3, 3)
            assert max(entry["bbox"][row][-2:]) > 0


def test_without_a_detectors_keypoints_the_bodys_are_taken(make_frame, body_model, tmp_path):
    frame = make_frame(0, 3)
    frame.detections.keypoints = None
    write(ExportJob(Tracklets([frame]), body_model, tmp_path, "x", options=ExportOptions(openpose=True)))
    (entry,) = joblib.load(tmp_path / "x_phalp.pkl").values()
    seen, hidden, _ = entry["extra_data"]
    np.testing.assert_allclose(seen[13, :2], frame.bodies.joints_2d[0, 29], rtol=1e-6)  # the left knee
    assert seen[13, 2] == pytest.approx(frame.detections.scores[0])
    assert not hidden.any()


def test_pictures_are_written_and_named(body_model, tmp_path, make_frame):
    for number in range(3):
        Image.new("RGB", (128, 72), (10 * number, 0, 0)).save(tmp_path / f"in_{number}.png")
    source = open_source(tmp_path)
    frames = Tracklets([make_frame(1), make_frame(2)])
    job = ExportJob(frames, body_model, tmp_path, "x", options=ExportOptions(pictures=source))
    write(job)
    entries = joblib.load(tmp_path / "x_phalp.pkl")
    assert list(entries) == [str(tmp_path / "x_frames" / name) for name in ("000002.jpg", "000003.jpg")]
    for path, entry in entries.items():
        assert entry["frame_path"] == path
        assert entry["img_path"] == [path] * 3
        assert entry["img_name"] == [path.rsplit("/", 1)[1]] * 3
        with Image.open(path) as picture:
            assert picture.size == (128, 72)
    job.tracklets = Tracklets([make_frame(7)])
    with pytest.raises(FourDHumansError, match="no readable frame 7"):
        write(job)
