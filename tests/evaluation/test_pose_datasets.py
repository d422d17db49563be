"""Tiny files in each dataset's own layout: what is read, what is left out, and what is refused."""

import json
import pickle

import numpy as np
import pytest

from fourd_humans.body.joints import COCO_17, HEAD, NECK
from fourd_humans.body.model import BodyModel
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.evaluation.datasets.coco import read_coco_keypoints
from fourd_humans.evaluation.datasets.hmr2_npz import read_released
from fourd_humans.evaluation.datasets.people import COMMON_14, SKELETON_24
from fourd_humans.evaluation.datasets.posetrack import POINTS, read_posetrack_people, read_posetrack_sequences
from fourd_humans.evaluation.datasets.three_dpw import read_3dpw

FRAMES = 4
TURN = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])


def three_dpw(**changes):
    """Two people in four frames; the camera of the first's last frame is not known, the other is once not seen."""
    rng = np.random.default_rng(0)
    extrinsics = np.tile(np.eye(4), (FRAMES, 1, 1))
    extrinsics[:, :3, :3], extrinsics[:, :3, 3] = TURN, (0, 0, 5)
    keypoints = rng.uniform(100, 300, (2, FRAMES, 3, 18))
    keypoints[:, :, 2] = 1
    keypoints[1, 0, 2] = 0
    content = {
        "sequence": "downtown_test_00",
        "poses": [rng.normal(0, 0.2, (FRAMES, 72)) for _ in range(2)],
        "betas": [rng.normal(size=10) for _ in range(2)],
        "trans": [rng.normal(size=(FRAMES, 3)) for _ in range(2)],
        "genders": ["m", "f"],
        "cam_poses": extrinsics,
        "campose_valid": [np.array([1, 1, 1, 0]), np.ones(FRAMES, int)],
        "jointPositions": [rng.normal(size=(FRAMES, 72)) for _ in range(2)],
        "poses2d": list(keypoints),
        "cam_intrinsics": np.eye(3),
    }
    content.update(changes)
    return content


def write_3dpw(folder, content):
    path = folder / "sequenceFiles" / "test" / "downtown_test_00.pkl"
    path.parent.mkdir(parents=True)
    data = pickle.dumps(content, protocol=2)  # as Python 2 named numpy's parts
    path.write_bytes(data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    return path


def test_3dpw_gives_the_joints_in_the_camera_frame_and_counts_who_is_left_out(tmp_path):
    content = three_dpw()
    write_3dpw(tmp_path, content)
    people = read_3dpw(tmp_path)
    assert len(people) == 3 + 3
    assert people.left_out == {"no camera": 1, "no box": 1}
    assert people.points == SKELETON_24
    assert people.images[0] == "downtown_test_00/image_00000.jpg"
    assert people.folder == tmp_path / "imageFiles"
    assert list(people.frames) == [0, 1, 2, 1, 2, 3]
    expected = content["jointPositions"][0][0].reshape(24, 3) @ TURN.T + (0, 0, 5)
    np.testing.assert_allclose(people.joints_3d[0, :, :3], expected)
    x, y, _ = content["poses2d"][0][0]
    side = 1.2 * max(np.ptp(x), np.ptp(y))
    np.testing.assert_allclose(people.boxes[0, 2:] - people.boxes[0, :2], side)
    np.testing.assert_allclose(people.sizes[0], side)


def test_3dpw_with_body_models_has_the_common_joints_and_meshes(tmp_path):
    body = BodyModel.open_body()
    content = three_dpw()
    write_3dpw(tmp_path, content)
    people = read_3dpw(tmp_path, bodies={"m": body, "f": body}, vertices=True)
    assert set(COMMON_14) <= set(people.points)
    assert people.vertices.shape == (6, len(body.v_template), 3)
    pelvis, annotated = people.points.index(39), people.points.index(SKELETON_24[0])
    distance = np.linalg.norm(people.joints_3d[:, pelvis, :3] - people.joints_3d[:, annotated, :3], axis=-1)
    assert (distance < 0.15).all()  # the joint between the hips lies near the skeleton's root
    with pytest.raises(FourDHumansError, match="needs the SMPL model for 'f'"):
        read_3dpw(tmp_path, bodies={"m": body})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"betas": [np.zeros(10)]}, "poses of 2 people, and betas of 1"),
        ({"poses": [np.zeros((3, 72)), np.zeros((FRAMES, 72))]}, "has 4 cameras"),
        ({"jointPositions": [np.full((FRAMES, 72), np.nan)] * 2}, "not finite"),
        ({"sequence": "x", "trans": None, "genders": None}, "no sequence"),
    ],
)
def test_3dpw_that_is_not_whole_is_refused(tmp_path, changes, words):
    content = three_dpw(**changes)
    content = {key: value for key, value in content.items() if value is not None}
    path = write_3dpw(tmp_path, content)
    with pytest.raises(FourDHumansError, match=words) as refused:
        read_3dpw(tmp_path)
    assert path.name in str(refused.value)


def test_a_missing_dataset_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(UsageError, match="sequenceFiles/test"):
        read_3dpw(tmp_path)
    with pytest.raises(UsageError, match="person_keypoints_val2017"):
        read_coco_keypoints(tmp_path)


def released(count=3, **changes):
    rng = np.random.default_rng(1)
    arrays = {
        "imgname": np.array([f"images/{i}.jpg" for i in range(count)]),
        "center": rng.uniform(100, 200, (count, 1, 2)),
        "scale": rng.uniform(100, 200, (count, 2)),
        "body_keypoints_2d": rng.uniform(0.1, 0.4, (count, 25, 3)),
        "extra_keypoints_2d": rng.uniform(0.6, 1, (count, 19, 3)),
        "extra_keypoints_3d": np.concatenate([rng.normal(size=(count, 19, 3)), np.ones((count, 19, 1))], axis=2),
    }
    arrays.update(changes)
    return {key: value for key, value in arrays.items() if value is not None}


def test_the_released_layout_is_read(tmp_path):
    arrays = released()
    np.savez(tmp_path / "3dpw_test.npz", **arrays)
    people = read_released(tmp_path / "3dpw_test.npz", "3dpw-npz")
    assert len(people) == 3
    np.testing.assert_allclose(people.sizes, arrays["scale"].max(1))
    np.testing.assert_allclose((people.boxes[:, :2] + people.boxes[:, 2:]) / 2, arrays["center"][:, 0])
    np.testing.assert_allclose(people.joints_3d[:, 25:, :3], arrays["extra_keypoints_3d"][..., :3])
    assert not people.joints_3d[:, :25, 3].any()
    assert not people.keypoints_2d[:, :25, 2].any()  # not confident enough
    assert (people.keypoints_2d[:, 25:, 2] > 0).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"center": None}, "lacks center"),
        ({"scale": np.array([100.0, 0, 100])}, "the scale of person 1"),
        ({"scale": np.ones(4)}, "3 image names but 4 rows of scale"),
        ({"extra_keypoints_3d": np.ones((3, 14, 4))}, "extra_keypoints_3d are"),
        ({"extra_keypoints_3d": np.full((3, 19, 4), np.nan)}, "not finite"),
        ({"imgname": np.array(["a", "b", "c"], object)}, "its imgname is no plain array"),
    ],
)
def test_a_wrong_file_in_the_released_layout_is_refused(tmp_path, changes, words):
    np.savez(tmp_path / "x.npz", **released(**changes))
    with pytest.raises(FourDHumansError, match=words):
        read_released(tmp_path / "x.npz", "coco")


def coco(**changes):
    person = {"id": 7, "image_id": 9, "category_id": 1, "iscrowd": 0, "num_keypoints": 2, "bbox": [10, 20, 30, 60]}
    person["keypoints"] = [15, 25, 2, 20, 30, 1, *[0] * 45]
    return {
        "images": [{"id": 9, "file_name": "000000000009.jpg", "width": 100, "height": 90}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [person | changes, person | {"iscrowd": 1}, person | {"num_keypoints": 0}],
    }


def write_coco(folder, content):
    path = folder / "annotations" / "person_keypoints_val2017.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))


def test_coco_people_with_keypoints_are_read(tmp_path):
    write_coco(tmp_path, coco())
    people = read_coco_keypoints(tmp_path)
    assert people.points == COCO_17
    np.testing.assert_allclose(people.boxes, [[10, 20, 40, 80]])
    np.testing.assert_allclose(people.sizes, [60])
    assert people.keypoints_2d[0, :, 2].tolist() == [1, 1, *[0] * 15]
    assert people.left_out == {"crowd": 1, "no keypoint annotated": 1}


@pytest.mark.parametrize("changes", [{"bbox": [1, 2, 0, 4]}, {"image_id": 3}, {"keypoints": [1, 2]}, {"bbox": None}])
def test_a_wrong_coco_annotation_is_refused(tmp_path, changes):
    write_coco(tmp_path, coco(**changes))
    with pytest.raises(FourDHumansError, match="annotation 7"):
        read_coco_keypoints(tmp_path)


def posetrack():
    """Three images of which two are labelled; one person in both, one with keypoints only, one with neither."""
    keypoints = [*[50, 60, 1], *[70, 100, 1], *[0] * 45]
    return {
        "images": [
            {"id": 100 + i, "file_name": f"images/val/seq/{i:06d}.jpg", "is_labeled": i != 1,
             "ignore_regions_x": [[0, 10, 10]], "ignore_regions_y": [[0, 0, 20]]}
            for i in range(3)
        ],
        "annotations": [
            {"image_id": 100, "track_id": 4, "bbox": [40, 50, 40, 70], "keypoints": keypoints},
            {"image_id": 102, "track_id": 4, "bbox": [45, 50, 40, 70], "keypoints": keypoints},
            {"image_id": 102, "track_id": 5, "bbox": [9, 9, 0, 0], "keypoints": keypoints},
            {"image_id": 102, "track_id": 6, "keypoints": [0] * 51},
        ],
    }  # fmt: skip


def write_posetrack(folder, content):
    path = folder / "annotations" / "val" / "000001_test.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


def test_posetrack_sequences_are_read(tmp_path):
    write_posetrack(tmp_path, posetrack())
    (sequence,) = read_posetrack_sequences(tmp_path)
    assert sequence.name == "000001_test"
    assert (list(sequence.numbers), sequence.names, sequence.length) == ([0, 2], ["000000.jpg", "000002.jpg"], 3)
    assert [frame.ids.tolist() for frame in sequence.frames] == [[4], [4, 5]]
    np.testing.assert_allclose(sequence.frames[1].boxes, [[45, 50, 85, 120], [48, 56, 72, 104]])
    np.testing.assert_allclose(sequence.frames[0].ignored, [[0, 0, 10, 20]])
    assert sequence.left_out == {"neither box nor keypoints": 1, "frames not annotated": 1}
    people = read_posetrack_people(tmp_path)
    assert len(people) == 3
    assert people.points == POINTS
    assert POINTS[1:3] == (NECK, HEAD - 5)  # head's lower and upper end
    np.testing.assert_allclose(people.sizes, [70, 70, 48])


def test_a_wrong_posetrack_annotation_is_refused(tmp_path):
    content = posetrack()
    content["annotations"][1]["bbox"] = [1, 2, 3, float("nan")]
    write_posetrack(tmp_path, content)
    with pytest.raises(FourDHumansError, match=r"000001_test.json, annotation 1 .* not finite"):
        read_posetrack_sequences(tmp_path)
