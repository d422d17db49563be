"""The body model against smplx reading the same arrays, and its short cuts against itself."""

import contextlib
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fourd_humans.body.joints import COCO_17, COCO_NAMES, JOINT_NAMES, LANDMARK_VERTICES, OPENPOSE_25, ROOT
from fourd_humans.body.loading import OPEN_BODY
from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.rotations import axis_angle_to_matrix


@pytest.fixture(scope="module")
def body():
    return BodyModel.open_body()


def random_people(n, dtype=torch.float32, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    rotations = axis_angle_to_matrix(0.6 * torch.randn(n, 24, 3, generator=generator))
    betas = torch.randn(n, 10, generator=generator)
    return [x.to(device, dtype) for x in (rotations[:, :1], rotations[:, 1:], betas)]


def test_agrees_with_smplx(body):
    """To a hundredth of a millimetre, on random poses and shapes."""
    smplx = pytest.importorskip("smplx")
    arrays = SimpleNamespace(
        v_template=body.v_template.numpy(), shapedirs=body.shapedirs.numpy(), posedirs=body.posedirs.numpy(),
        J_regressor=body.J_regressor.numpy(), weights=body.weights.numpy(), f=body.faces.astype(np.uint32),
        kintree_table=np.array([body.parents, range(24)], dtype=np.int64),
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):  # it remarks on the number of shape coefficients
        reference = smplx.SMPLLayer("", data_struct=arrays, num_betas=10)
    global_orient, body_pose, betas = random_people(16)
    expected = reference(global_orient=global_orient, body_pose=body_pose, betas=betas)
    output = body(global_orient, body_pose, betas)
    torch.testing.assert_close(output.vertices, expected.vertices, atol=1e-5, rtol=0)
    torch.testing.assert_close(output.skeleton, expected.joints[:, :24], atol=1e-5, rtol=0)
    # OpenPose's 25 among smplx's 24 joints, five points of the face and six of the feet
    openpose = [24, 12, 17, 19, 21, 16, 18, 20, 0, 2, 5, 8, 1, 4, 7, *range(25, 35)]
    torch.testing.assert_close(output.joints[:, OPENPOSE_25], expected.joints[:, openpose], atol=1e-5, rtol=0)


def test_short_cuts_give_the_same(body):
    people = random_people(4)
    output = body(*people)
    torch.testing.assert_close(body.joints(*people), output.joints, atol=1e-6, rtol=0)
    torch.testing.assert_close(body.skeleton(*people), output.skeleton, atol=1e-6, rtol=0)


def test_the_45_joints(body):
    identity = torch.eye(3).expand(1, 24, 3, 3)
    output = body(identity[:, :1], identity[:, 1:], torch.zeros(1, 10))
    place = dict(zip(JOINT_NAMES, output.joints[0], strict=True))
    assert len(place) == 45
    assert JOINT_NAMES[ROOT] == "root"
    assert not place["root"].any()  # the origin, wherever the body is and however it stands
    for name, vertex in LANDMARK_VERTICES.items():
        torch.testing.assert_close(place[f"openpose_{name}"], output.vertices[0, vertex])
    for name, joint in place.items():  # left is +x, and the body is symmetric
        if "left" in name:
            mirrored = place[name.replace("left", "right")] * torch.tensor([-1, 1, 1])
            torch.testing.assert_close(joint, mirrored, atol=1e-3, rtol=0)
            assert joint[0] > 0
    heights = [place[name][1] for name in ("head_top", "head", "jaw", "neck", "thorax", "spine", "pelvis")]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] == output.vertices[0, :, 1].max()
    for smpl, name in ((4, "knee"), (7, "ankle"), (16, "shoulder"), (18, "elbow"), (20, "wrist"), (1, "hip")):
        assert (place[f"surface_left_{name}"] - output.skeleton[0, smpl]).norm() < 0.035


def test_coco_joints_are_named_alike():
    for joint, name in zip(COCO_17, COCO_NAMES, strict=True):
        assert JOINT_NAMES[joint].endswith(name)


def test_the_root_turns_nothing_away_from_the_origin(body):
    global_orient, body_pose, betas = random_people(3)
    assert not body(global_orient, body_pose, betas).joints[:, ROOT].any()


def test_nobody(body):
    output = body(torch.zeros(0, 1, 3, 3), torch.zeros(0, 23, 3, 3), torch.zeros(0, 10))
    assert output.vertices.shape == (0, 6890, 3)
    assert output.joints.shape == (0, 45, 3)
    assert output.skeleton.shape == (0, 24, 3)


def test_gradients_reach_every_input(body):
    people = [x.requires_grad_() for x in random_people(2)]
    body.joints(*people).square().sum().backward()
    from_joints = [x.grad.clone() for x in people]
    assert all(torch.isfinite(g).all() and g.abs().amax(dim=tuple(range(1, g.dim()))).min() > 0 for g in from_joints)
    for x in people:
        x.grad = None
    body(*people).joints.square().sum().backward()
    for x, gradient in zip(people, from_joints, strict=True):
        torch.testing.assert_close(x.grad, gradient, atol=1e-4, rtol=1e-4)


def test_half_precision_is_within_millimetres(body):
    people = random_people(2)
    half = BodyModel.open_body().half()
    output = half(*(x.half() for x in people))
    assert output.vertices.dtype == torch.float16
    assert (output.vertices.float() - body(*people).vertices).norm(dim=-1).max() < 0.01


def test_autocast_costs_nothing(body):
    people = random_people(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = body(*(x.bfloat16() for x in people))
    assert output.joints.dtype == torch.float32
    expected = body(*(x.bfloat16().float() for x in people))
    torch.testing.assert_close(output.joints, expected.joints)


def test_facts_about_the_open_body(body):
    assert body.shape_space == OPEN_BODY
    assert not body.state_dict()  # it has its own file
    assert body.faces.shape == (13776, 3)
    torch.testing.assert_close(body.weights.sum(1), torch.ones(6890))
    identity = torch.eye(3).expand(1, 24, 3, 3)
    vertices = body(identity[:, :1], identity[:, 1:], torch.zeros(1, 10)).vertices[0]
    assert np.ptp(vertices[:, 1].numpy()) == pytest.approx(1.69, abs=0.005)
    corners = vertices[body.faces]
    volume = torch.linalg.det(corners.double()).sum() / 6  # a closed surface, its faces turned outwards
    assert 0.05 < volume < 0.1
    edges = np.sort(body.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float16, 0.01)])
def test_on_gpu(body, dtype, limit):
    people = random_people(8)
    output = BodyModel.open_body().to("cuda", dtype)(*(x.to("cuda", dtype) for x in people))
    assert (output.vertices.cpu().float() - body(*people).vertices).abs().max() < limit
