"""USD files hold our people where we have them, as skinned by USD itself and by Blender."""

from dataclasses import replace

import numpy as np
import pytest
from readers import blender
from truth import farthest, posed

from fourd_humans.body.joints import SMPL_NAMES
from fourd_humans.exports.usd import fill
from fourd_humans.exports.world import Y_UP, make_scene

pxr = pytest.importorskip("pxr", reason="needs usd-core")
from pxr import Gf, Usd, UsdGeom, UsdSkel, UsdValidation  # noqa: E402


def stage_of(scene, **options):
    stage = Usd.Stage.CreateInMemory()
    fill(stage, scene, **options)
    return stage


@pytest.fixture(scope="module")
def with_shapes(scene):
    return stage_of(scene, shapes=True)


def skinned(stage, name, code):
    """(V, 3) and the 24 joints (24, 3) of a person, computed by UsdSkel."""
    cache = UsdSkel.Cache()
    root = UsdSkel.Root(stage.GetPrimAtPath(f"/World/{name}"))
    cache.Populate(root, Usd.PrimDefaultPredicate)
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath(f"/World/{name}/{name}_body"))
    query = cache.GetSkelQuery(UsdSkel.Skeleton(stage.GetPrimAtPath(f"/World/{name}/{name}_skeleton")))
    skinning = cache.GetSkinningQuery(mesh.GetPrim())
    points = mesh.GetPointsAttr().Get()
    if skinning.HasBlendShapes():
        shapes = UsdSkel.BlendShapeQuery(UsdSkel.BindingAPI(mesh.GetPrim()))
        weights = query.GetAnimQuery().ComputeBlendShapeWeights(code)
        sub_weights, shape_indices, sub_indices = shapes.ComputeSubShapeWeights(weights)
        shapes.ComputeDeformedPoints(
            sub_weights, shape_indices, sub_indices, shapes.ComputeBlendShapePointIndices(),
            shapes.ComputeSubShapePointOffsets(), points,
        )  # fmt: skip
    skinning.ComputeSkinnedPoints(query.ComputeSkinningTransforms(code), points, code)
    joints = [transform.ExtractTranslation() for transform in query.ComputeJointSkelTransforms(code)]
    return np.array(points), np.array(joints)


def test_usd_skins_as_we_do(with_shapes, scene, tracklets, body_model):
    for motion in scene.people:
        vertices, _, skeleton = posed(tracklets, body_model, motion.id, Y_UP.rotation)
        for row in (0, len(motion) // 2, len(motion) - 1):
            points, joints = skinned(with_shapes, motion.name, float(motion.indices[row]))
            assert farthest(points, vertices[row]) < 0.5
            assert farthest(joints, skeleton[row]) < 0.05


def test_without_shapes_it_is_linear_skinning(scene, tracklets, body_model):
    stage = stage_of(scene)
    motion = scene.people[0]
    vertices, _, _ = posed(tracklets, body_model, motion.id, Y_UP.rotation, pose_shapes=False)
    assert farthest(skinned(stage, motion.name, float(motion.indices[5]))[0], vertices[5]) < 0.1


def test_validators_find_nothing(with_shapes):
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    errors = UsdValidation.ValidationContext(validators).Validate(with_shapes)
    assert [(str(e.GetName()), e.GetMessage()) for e in errors] == []


def test_stage_camera_and_visibility(walk, body_model):
    scene = make_scene(walk, body_model)
    stage = stage_of(scene)
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert stage.GetTimeCodesPerSecond() == pytest.approx(10)
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, len(scene.times) - 1)
    assert "CC0" in stage.GetRootLayer().comment
    assert stage.GetDefaultPrim().GetPath() == "/World"
    late = scene.people[1]
    imageable = UsdGeom.Imageable(stage.GetPrimAtPath("/World/person_2"))
    for index in range(len(scene.times)):
        expected = "inherited" if index in late.indices else "invisible"
        assert imageable.ComputeVisibility(index) == expected

    # What the camera sees of a pelvis is where the pelvis is in the frame.
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/World/camera")).GetCamera(0)
    project = camera.frustum.ComputeViewMatrix() * camera.frustum.ComputeProjectionMatrix()
    pelvis = scene.people[0].pelvis[0]
    x, y, _ = project.Transform(Gf.Vec3d(*pelvis.tolist()))
    height, width = scene.camera.size
    right, down, forward = pelvis * [1, -1, -1]
    pixel = scene.camera.focal_length * np.array([right, down]) / forward + scene.camera.principal_point
    np.testing.assert_allclose([(x + 1) / 2 * width, (1 - y) / 2 * height], pixel, atol=0.05)


def test_times_that_vary_are_kept(walk, body_model):
    frames = [replace(frame, time=frame.time + 0.02 * (i % 2)) for i, frame in enumerate(walk.frames)]
    scene = make_scene(replace(walk, frames=frames), body_model)
    stage = stage_of(scene)
    animation = UsdSkel.Animation(stage.GetPrimAtPath("/World/person_1/person_1_skeleton/animation"))
    codes = animation.GetRotationsAttr().GetTimeSamples()
    seconds = np.array(codes) / stage.GetTimeCodesPerSecond()
    np.testing.assert_allclose(seconds, scene.times[scene.people[0].indices], atol=1e-3)


@pytest.mark.slow
def test_blender_reads_it(with_shapes, scene, tracklets, body_model, tmp_path):
    with_shapes.GetRootLayer().Export(str(tmp_path / "scene.usd"))
    frames = np.intersect1d(scene.people[0].indices, scene.people[1].indices)[[0, 7, 19]]
    read = blender(tmp_path, tmp_path / "scene.usd", scene.frame_rate, frames)
    for motion in scene.people:
        vertices, _, _ = posed(tracklets, body_model, motion.id, Y_UP.rotation)
        rows = np.searchsorted(motion.indices, frames)
        assert farthest(read[f"mesh/{motion.name}_body"], vertices[rows]) < 0.5
    assert f"bone/person_1_skeleton/{SMPL_NAMES[-1]}" in read
