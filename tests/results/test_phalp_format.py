"""The released tracker's layout: what it writes is read, and what we write is what its readers expect."""

import pickletools
import zlib

import joblib
import numpy as np
import pytest
from pycocotools import mask as coco
from same import assert_same

from fourd_humans.results import ResultWriter, load_tracklets
from fourd_humans.results.phalp_format import EXTRA_KEYS, from_entry, to_entry

# Of the layout; 'uv' and 'appe' come on request.
RELEASED_KEYS = {
    "time", "shot", "frame_path", "tid", "bbox", "tracked_ids", "tracked_bbox", "tracked_time", "loca", "pose",
    "center", "scale", "size", "img_path", "img_name", "class_name", "conf", "annotations", "smpl", "camera",
    "camera_bbox", "3d_joints", "2d_joints", "mask", "extra_data", "prediction_pose", "prediction_loca",
}  # fmt: skip
PER_FRAME = {"time", "shot", "frame_path", "tracked_ids", "tracked_bbox"}


@pytest.fixture
def released(tmp_path):
    """A file as the released tracker writes it: a frame with nobody, one with two people of whom one is hidden."""
    rng = np.random.default_rng(0)
    mask = np.zeros((100, 200), np.uint8, order="F")
    mask[20:60, 30:50] = 1
    rle = coco.encode(mask)
    rle["counts"] = rle["counts"].decode()
    empty = {key: [] for key in RELEASED_KEYS - PER_FRAME - {"prediction_pose", "prediction_loca"}}
    nobody = empty | {"time": 0, "shot": 0, "frame_path": "img/000001.jpg", "tracked_ids": [], "tracked_bbox": []}
    box = np.array([30.0, 20.0, 20.0, 40.0])
    people = {
        "time": 1, "shot": 1, "frame_path": "img/000002.jpg",
        "tid": [3, 8], "bbox": [box, box], "tracked_ids": [3], "tracked_bbox": [box], "tracked_time": [0, 2],
        "appe": [rng.random(4096, np.float32)] * 2, "loca": [rng.random(99, np.float32)] * 2,
        "pose": [rng.random(229, np.float32)] * 2, "uv": [rng.random((4, 256, 256), np.float32)] * 2,
        "center": [box[:2] + box[2:] / 2] * 2, "scale": [box[2:]] * 2, "size": [[100, 200]] * 2,
        "img_path": ["img/000002.jpg"] * 2, "img_name": ["000002.jpg"] * 2, "class_name": [0, 0],
        "conf": [np.float32(0.75), 0.5], "annotations": [[], []],
        "smpl": [{"global_orient": np.eye(3, dtype=np.float32)[None], "betas": np.zeros(10, np.float32),
                  "body_pose": np.eye(3, dtype=np.float32)[None].repeat(23, 0)}] * 2,
        "camera": [np.array([1, 2, 30], np.float32)] * 2, "camera_bbox": [np.array([0.9, 0, 0], np.float32)] * 2,
        "3d_joints": [rng.random((45, 3), np.float32)] * 2, "2d_joints": [np.full(90, 0.5, np.float32)] * 2,
        "mask": [[rle], [rle]], "extra_data": [{}, {}],
    }  # fmt: skip
    results = {"img/000001.jpg": nobody, "img/000002.jpg": people}
    joblib.dump(results, tmp_path / "released.pkl", compress=3)
    return tmp_path / "released.pkl", results


def test_released_files_are_read(released):
    path, results = released
    tracklets = load_tracklets(path)
    nobody, people = tracklets
    assert len(nobody) == 0
    assert nobody.name == "000001.jpg"
    assert tracklets.folder == "img"
    assert (people.index, people.is_cut, people.size) == (1, True, (100, 200))
    assert people.ids.tolist() == [3, 8]
    assert people.seen.tolist() == [True, False]
    assert people.detections.boxes[0].tolist() == [30, 20, 50, 60]
    assert people.detections.scores.tolist() == [0.75, 0.5]
    assert people.detections.annotations is None
    assert people.detections.masks[0].full().sum() == 800
    assert people.bodies.shape_space == "smpl"
    assert people.bodies.focal_length == pytest.approx(5000 / 256 * 200)
    assert people.bodies.principal_point == (100, 50)
    assert people.bodies.texture.shape == (2, 4, 256, 256)
    np.testing.assert_allclose(people.bodies.joints_2d, np.broadcast_to([100, 50], (2, 45, 2)))
    np.testing.assert_allclose(people.bodies.crop_center, [[40, 40]] * 2)
    np.testing.assert_allclose(people.bodies.crop_size, 40, err_msg="a tall box is widened, not made taller")
    np.testing.assert_array_equal(people.bodies.joints_3d[0], results["img/000002.jpg"]["3d_joints"][0])


def test_entries_have_the_layout_and_our_keys(make_frame):
    entry = to_entry(make_frame(2, 3), "000002")
    assert entry.keys() == RELEASED_KEYS | set(EXTRA_KEYS)
    for key in RELEASED_KEYS - PER_FRAME:
        assert isinstance(entry[key], list), key
        assert len(entry[key]) == 3, key
    empty = to_entry(make_frame(2, 0), "000002")
    assert empty.keys() == entry.keys()
    assert all(empty[key] == [] for key in RELEASED_KEYS - PER_FRAME)


def test_units_of_the_layout(make_frame):
    frame = make_frame(2, 3)
    entry = to_entry(frame, "000002")
    assert (entry["time"], entry["shot"], entry["tid"], entry["tracked_ids"]) == (2, 1, [1, 2, 3], [1])
    height, width = frame.size
    x0, y0, x1, y1 = frame.detections.boxes[1]
    np.testing.assert_allclose(entry["bbox"][1], [x0, y0, x1 - x0, y1 - y0])
    np.testing.assert_allclose(entry["center"][1], [(x0 + x1) / 2, (y0 + y1) / 2])
    np.testing.assert_array_equal(entry["tracked_bbox"], [entry["bbox"][0]])
    assert entry["2d_joints"][1].shape == (90,)
    fractions = entry["2d_joints"][1].reshape(45, 2) * width  # the frame is wider than high
    np.testing.assert_allclose(fractions - [0, (width - height) / 2], frame.bodies.joints_2d[1], atol=1e-4)
    assert entry["loca"][1].shape == (99,)
    assert entry["pose"][1].shape == (229,)
    np.testing.assert_array_equal(entry["pose"][1][:9], frame.bodies.global_orient[1].ravel())
    np.testing.assert_array_equal(coco.decode(entry["mask"][1][0]), frame.detections.masks[1].full())


def test_masks_are_a_list_with_one_encoding_a_person(make_frame):
    """The released visualiser, and loaders of SLAHMR's kind, take ``mask[i][0]``, also of arrays made of the list."""
    frame = make_frame(2, 3)
    frame.detections.masks[1] = None
    entry = to_entry(frame, "000002")
    masks = np.array(entry["mask"])
    assert masks.shape == (3, 1)
    decoded = [coco.decode(masks[i][0]) for i in range(3)]
    np.testing.assert_array_equal(decoded[0], frame.detections.masks[0].full())
    assert decoded[1].shape == frame.size
    assert not decoded[1].any(), "nothing is known of where the person is"


def test_scores_are_numbers_of_numpy_under_names_that_old_numpy_knows(tmp_path, make_frame):
    with ResultWriter(tmp_path / "a.pkl") as writer:
        writer.write(make_frame(0, 2))
    (entry,) = joblib.load(tmp_path / "a.pkl").values()
    for score in entry["conf"]:
        assert score.astype(float) == pytest.approx(float(score))
    pickled = zlib.decompress((tmp_path / "a.pkl").read_bytes())
    modules = {arg.split(" ")[0] for opcode, arg, _ in pickletools.genops(pickled) if opcode.name == "GLOBAL"}
    assert modules <= {"numpy", "builtins", "_codecs"}, "numpy 2 has moved its other modules"


def test_scale_is_the_padded_box_whose_maximum_is_the_crop(make_frame):
    frame = make_frame(0, 3)
    frame.detections.boxes[:] = [[10, 10, 30, 70], [0, 5, 60, 45], [0, 0, 30, 40]]  # tall, wide, and just 3:4
    entry = to_entry(frame, "000000")
    np.testing.assert_allclose(entry["scale"], [[45, 60], [60, 80], [30, 40]])
    released = {**entry, "extra_data": [{}, {}, {}]}
    np.testing.assert_allclose(from_entry("0", released, 0).bodies.crop_size, [max(s) for s in entry["scale"]])


def test_files_of_version_0_1_0_are_read(tmp_path, make_frame):
    frame = make_frame(3, 3)
    frame.detections.masks[1] = None
    entry = to_entry(frame, "000003")
    old_masks = [mask[0] if i != 1 else None for i, mask in enumerate(entry["mask"])]
    old = {"mask": old_masks, "conf": [float(score) for score in entry["conf"]], "scale": list(entry["center"])}
    joblib.dump({"000003": entry | old}, tmp_path / "a.pkl", compress=3)
    tracklets = load_tracklets(tmp_path / "a.pkl")
    assert_same(tracklets[0], frame, tolerance=1e-4)
    assert tracklets.complete
    assert tracklets.made_with == {}


def test_without_times_thirty_frames_a_second_are_assumed_and_said(released, caplog):
    path, _ = released
    assert [frame.time for frame in load_tracklets(path)] == [0, 1 / 30]
    assert "30 frames a second" in caplog.text
    caplog.clear()
    assert [frame.time for frame in load_tracklets(path, frame_rate=25)] == [0, 1 / 25]
    assert not caplog.text


def test_the_released_evaluation_runs_on_it(make_frame):
    """Readers iterate over all values of the file and take each for a frame."""
    results = {str(index): to_entry(make_frame(index, index), str(index)) for index in range(3)}
    for frame in results.values():
        assert all(np.asarray(joints).shape == (45, 3) for joints in frame["3d_joints"])
        assert len(frame["tracked_time"]) == len(frame["3d_joints"])
