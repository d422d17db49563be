"""Bodies from files: matched to the right frames and boxes, in the camera in use; bad files refused."""

import logging

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourd_humans.body.model import BodyModel
from fourd_humans.config import apply_settings, default_config
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.geometry.camera import Intrinsics, crop_camera, project, released_intrinsics
from fourd_humans.geometry.crops import crop_squares
from fourd_humans.people import Bodies, Detections, Frame, TrackedFrame
from fourd_humans.recovery.precomputed import PrecomputedRecovery, build
from fourd_humans.recovery.settings import PrecomputedBodySettings
from fourd_humans.results import ResultWriter
from fourd_humans.tracklets import Tracklets

SIZE = (100, 200)
BOXES = np.array([[10, 10, 50, 90], [100, 5, 150, 95]], np.float32)


@pytest.fixture(scope="module")
def body():
    return BodyModel.open_body()


def tracked(body: BodyModel, index: int, name: str, seed: int = 0) -> TrackedFrame:
    """Two people, the second one hidden in frame 1."""
    rng = np.random.default_rng([seed, index])
    rotations = Rotation.from_rotvec(rng.normal(size=(48, 3)) / 2).as_matrix().reshape(2, 24, 3, 3).astype(np.float32)
    betas = rng.normal(size=(2, 10)).astype(np.float32)
    camera = np.array([[-0.5, 0.1, 4], [0.4, 0, 5]], np.float32)
    intrinsics = Intrinsics(150.0, (100.0, 50.0))
    joints = body.joints_of_arrays(rotations[:, :1], rotations[:, 1:], betas)
    bodies = Bodies(
        rotations[:, :1], rotations[:, 1:], betas, camera, joints, project(joints, camera, intrinsics),
        150.0, (100.0, 50.0), body.shape_space, confidence=np.array([0.7, 0.9], np.float32),
    )  # fmt: skip
    ages = np.array([0, -1 if index == 1 else 0])
    found = Detections(BOXES, np.ones(2, np.float32))
    return TrackedFrame(index, index / 25, name, SIZE, np.array([1, 2]), ages, found, bodies)


def write(path, frames) -> str:
    with ResultWriter(path) as writer:
        for frame in frames:
            writer.write(frame)
    return str(path)


def picture(index: int, name: str | None = None) -> Frame:
    return Frame(index, index / 25, name or f"{index:06d}", np.zeros((*SIZE, 3), np.uint8))


def detections(*boxes) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.8, np.float32))


def same_camera(size):
    return Intrinsics(150.0, (100.0, 50.0))


def test_results_are_matched_by_overlap(tmp_path, body):
    frames = [tracked(body, i, f"{i:06d}") for i in range(2)]
    recover = PrecomputedRecovery(write(tmp_path / "r.pkl", frames), body, same_camera)
    moved = BOXES[::-1] + 3  # in another order, and not quite there
    first, second, third = recover([picture(0), picture(1), picture(2)], [detections(*moved)] * 3)
    kept, bodies = first
    np.testing.assert_array_equal(kept.boxes, moved)
    expected = frames[0].bodies[[1, 0]]
    for name in ("global_orient", "body_pose", "betas", "camera", "confidence"):
        np.testing.assert_array_equal(getattr(bodies, name), getattr(expected, name))
    np.testing.assert_allclose(bodies.joints_3d, expected.joints_3d, atol=1e-5)
    np.testing.assert_allclose(bodies.joints_2d, expected.joints_2d, atol=1e-2)
    assert [person.reason for person in second[0].rejected] == ["no precomputed body overlaps the box"]  # hidden
    np.testing.assert_array_equal(second[0].boxes, moved[1:])
    assert (len(third[0]), len(third[1]), len(third[0].rejected)) == (0, 0, 2)
    assert third[1].shape_space == body.shape_space


def test_images_are_looked_up_by_name(tmp_path, body):
    frames = [tracked(body, i, f"{name}.jpg") for i, name in enumerate("ab")]
    recover = PrecomputedRecovery(write(tmp_path / "r.pkl", frames), body, same_camera)
    ((_, bodies),) = recover([picture(0, "b.jpg")], [detections(BOXES[0])])
    np.testing.assert_array_equal(bodies.body_pose, frames[1].bodies.body_pose[:1])


def test_another_camera_keeps_the_origin_at_its_pixel(tmp_path, body):
    frame = tracked(body, 0, "000000")
    recover = PrecomputedRecovery(write(tmp_path / "r.pkl", [frame]), body, released_intrinsics)
    ((_, bodies),) = recover([picture(0)], [detections(*BOXES)])
    origin = np.zeros((2, 1, 3))
    in_use = released_intrinsics(SIZE)
    before = project(origin, frame.bodies.camera, same_camera(SIZE))
    np.testing.assert_allclose(project(origin, bodies.camera, in_use), before, atol=1e-3)
    ratio = in_use.focal_length / 150
    np.testing.assert_allclose(bodies.camera[:, 2], frame.bodies.camera[:, 2] * ratio, rtol=1e-5)
    assert bodies.focal_length == in_use.focal_length


def test_betas_of_another_body_are_not_used(tmp_path, body, caplog):
    frame = tracked(body, 0, "000000")
    frame.bodies.shape_space = "smpl"
    with caplog.at_level(logging.WARNING):
        recover = PrecomputedRecovery(write(tmp_path / "r.pkl", [frame]), body, same_camera)
        ((_, bodies),) = recover([picture(0)], [detections(*BOXES)])
    assert not bodies.betas.any()
    assert bodies.shape_space == body.shape_space
    assert "mean shape" in caplog.text
    expected = body.joints_of_arrays(bodies.global_orient, bodies.body_pose, bodies.betas)
    np.testing.assert_array_equal(bodies.joints_3d, expected)


def test_npz_of_our_arrays_is_the_results_again(tmp_path, body):
    frames = [tracked(body, i, f"{i:06d}") for i in range(2)]
    columns = Tracklets(frames).seen_only().to_numpy()
    np.savez(tmp_path / "r.npz", **columns, shape_space=body.shape_space)
    results, npz = (
        PrecomputedRecovery(path, body, same_camera) for path in (write(tmp_path / "r.pkl", frames), tmp_path / "r.npz")
    )
    pictures, found = [picture(0), picture(1)], [detections(*BOXES)] * 2
    for (kept, bodies), (kept_npz, bodies_npz) in zip(results(pictures, found), npz(pictures, found), strict=True):
        np.testing.assert_array_equal(kept.boxes, kept_npz.boxes)
        for name in ("global_orient", "body_pose", "betas", "camera", "joints_2d", "confidence"):
            np.testing.assert_array_equal(getattr(bodies, name), getattr(bodies_npz, name))


def test_npz_of_a_regressor(tmp_path, body):
    """Axis-angle, names of images, and HMR's camera in its crop alone."""
    frame = tracked(body, 0, "a.jpg")
    center, size = crop_squares(BOXES)
    weak = crop_camera(frame.bodies.camera, center, size, same_camera(SIZE))
    vectors = Rotation.from_matrix(
        np.concatenate([frame.bodies.global_orient, frame.bodies.body_pose], 1).reshape(-1, 3, 3)
    ).as_rotvec()
    arrays = {"image": np.array(["x/b.jpg", "x/a.jpg"]), "boxes": BOXES, "camera_crop": weak}
    np.savez(tmp_path / "r.npz", poses=vectors.reshape(2, 72), **arrays)
    recover = PrecomputedRecovery(tmp_path / "r.npz", body, same_camera)
    ((kept, bodies),) = recover([picture(0, "a.jpg")], [detections(*BOXES)])
    np.testing.assert_array_equal(kept.boxes, BOXES[1:])
    np.testing.assert_allclose(bodies.body_pose, frame.bodies.body_pose[1:], atol=1e-5)
    np.testing.assert_allclose(bodies.camera, frame.bodies.camera[1:], atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"boxes": None}, "lacks boxes"),
        ({"frame": None}, "lacks frame or image"),
        ({"frame": np.zeros(2)}, "frame must have"),
        ({"poses": np.zeros((3, 72))}, "poses has the shape"),
        ({"poses": np.full((2, 72), np.nan)}, "not finite"),
        ({"poses": None}, "lacks global_orient"),
        ({"poses": None, "global_orient": np.zeros((2, 1, 3, 3)), "body_pose": np.zeros((2, 23, 3, 3))}, "rotations"),
        ({"camera_crop": None}, "camera"),
    ],
)
def test_wrong_npz(tmp_path, body, changes, complaint):
    arrays = {"frame": np.arange(2), "boxes": BOXES, "poses": np.zeros((2, 72)), "camera_crop": np.ones((2, 3))}
    arrays = {name: values for name, values in (arrays | changes).items() if values is not None}
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(FourDHumansError, match=complaint):
        PrecomputedRecovery(tmp_path / "r.npz", body, same_camera)


def test_what_is_no_file_of_bodies(tmp_path, body):
    for path in (tmp_path / "missing.npz", tmp_path / "bodies.txt"):
        with pytest.raises(UsageError):
            PrecomputedRecovery(path, body, same_camera)
    with pytest.raises(UsageError, match="--bodies"):
        build(PrecomputedBodySettings(), body, same_camera, "cpu")
    chosen = apply_settings(default_config("paper"), ["recovery.backend=precomputed", "recovery.bodies=x.pkl"])
    assert isinstance(chosen.recovery, PrecomputedBodySettings)
