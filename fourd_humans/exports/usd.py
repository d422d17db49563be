"""USD: everybody as a UsdSkel character in one stage, with the camera that filmed them.

y up, metres, time codes in frames (times a second: the stage's timeCodesPerSecond), exact where the video's times vary.
Vertices keep all their weights. People who are away are invisible.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourd_humans.body.joints import SMPL_NAMES, SMPL_PARENTS
from fourd_humans.exports.job import ExportJob
from fourd_humans.exports.notices import notice
from fourd_humans.exports.skin import WEIGHT_UNITS, PoseShapes, SkinWeights, pose_shapes, rest_normals, skin_weights
from fourd_humans.exports.world import Y_UP, Motion, Scene
from fourd_humans.rendering.palette import linear_rgb, track_colour

MOST_WEIGHTS = 8  # of a vertex
SENSOR = 36.0  # millimetres: width of the film that USD's focal lengths refer to; any would do
CAMERA_AXES = np.diag([1.0, -1.0, -1.0])  # USD's cameras look along −z with y up
SMALLEST_MOVE = 1e-5  # metres: what moves a vertex less is left out of a blend shape


def write(job: ExportJob) -> None:
    from pxr import Usd

    path = job.new_file(".usd")
    path.unlink(missing_ok=True)
    stage = Usd.Stage.CreateNew(str(path))
    fill(stage, job.scene(Y_UP), shapes=job.options.pose_shapes)
    stage.GetRootLayer().Save()


def fill(stage: Any, scene: Scene, *, shapes: bool = False) -> None:
    """Put a scene, in `world.Y_UP`, into an empty stage. shapes: with pose-dependent shapes as blend shapes."""
    from pxr import Kind, Usd, UsdGeom, UsdSkel

    codes = scene.times * scene.frame_rate
    codes = np.where(np.abs(codes - codes.round()) < 1e-3, codes.round(), codes)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(scene.frame_rate)
    stage.SetFramesPerSecond(scene.frame_rate)
    stage.SetStartTimeCode(codes[0])
    stage.SetEndTimeCode(codes[-1])
    world = UsdGeom.Xform.Define(stage, "/World")
    stage.SetDefaultPrim(world.GetPrim())
    Usd.ModelAPI(world).SetKind(Kind.Tokens.assembly)
    stage.GetRootLayer().comment = notice(scene.body_model.shape_space)
    _camera(stage, scene, codes)
    weights = skin_weights(scene.body_model, scene.people, MOST_WEIGHTS)
    morphs = pose_shapes(scene.body_model, scene.people) if shapes else None
    for row, motion in enumerate(scene.people):
        root = UsdSkel.Root.Define(stage, f"/World/{motion.name}")
        root.GetPrim().SetCustomDataByKey("person", motion.id)
        _set_visibility(root, scene, motion, codes)
        skeleton = _skeleton(stage, root, motion)
        animation = _animation(stage, skeleton, motion, codes[motion.indices])
        mesh = _mesh(stage, root, motion, scene.body_model.faces, weights)
        UsdSkel.BindingAPI.Apply(mesh.GetPrim()).CreateSkeletonRel().SetTargets([skeleton.GetPath()])
        _material(stage, root, mesh, motion)
        if morphs is not None:
            _blend_shapes(stage, mesh, animation, motion, morphs, morphs.weights[row], codes[motion.indices])


def _camera(stage: Any, scene: Scene, codes: NDArray[np.float64]) -> None:
    """The filming camera, which looks along its −z with y up; USD's can have the principal point anywhere."""
    from pxr import Gf, UsdGeom

    camera = UsdGeom.Camera.Define(stage, "/World/camera")
    height, width = scene.camera.size
    millimetres = SENSOR / width
    x, y = scene.camera.principal_point
    camera.CreateHorizontalApertureAttr(SENSOR)
    camera.CreateVerticalApertureAttr(height * millimetres)
    camera.CreateHorizontalApertureOffsetAttr((width / 2 - x) * millimetres)
    camera.CreateVerticalApertureOffsetAttr((y - height / 2) * millimetres)
    camera.CreateFocalLengthAttr(scene.camera.focal_length * millimetres)
    camera.CreateClippingRangeAttr(Gf.Vec2f(0.1, 10000))
    place = camera.AddTransformOp()
    previous = None
    for code, rotation, position in zip(codes, scene.camera.rotation, scene.camera.position, strict=True):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[3, :3] = (rotation @ CAMERA_AXES).T, position  # transposed: USD's points are rows
        if previous is None or not np.array_equal(matrix, previous):
            place.Set(Gf.Matrix4d(matrix.tolist()), code)
        previous = matrix


def _set_visibility(root: Any, scene: Scene, motion: Motion, codes: NDArray[np.float64]) -> None:
    from pxr import UsdGeom

    changes, there = motion.presence(len(scene.times))
    visibility = root.CreateVisibilityAttr()
    if len(changes) > 1:
        for code, visible in zip(codes[changes], there, strict=True):
            visibility.Set(UsdGeom.Tokens.inherited if visible else UsdGeom.Tokens.invisible, code)


def _skeleton(stage: Any, root: Any, motion: Motion) -> Any:
    """The 24 joints at rest in the T-pose."""
    from pxr import Gf, UsdSkel

    skeleton = UsdSkel.Skeleton.Define(stage, root.GetPath().AppendChild(f"{motion.name}_skeleton"))
    rest = motion.rest_joints
    local = rest - np.where(np.arange(len(rest))[:, None] == 0, 0, rest[list(SMPL_PARENTS)])
    skeleton.CreateJointsAttr(_joint_paths())
    skeleton.CreateJointNamesAttr(list(SMPL_NAMES))
    skeleton.CreateBindTransformsAttr([Gf.Matrix4d().SetTranslate(Gf.Vec3d(*joint.tolist())) for joint in rest])
    skeleton.CreateRestTransformsAttr([Gf.Matrix4d().SetTranslate(Gf.Vec3d(*joint.tolist())) for joint in local])
    return skeleton


def _joint_paths() -> list[str]:
    """``pelvis/left_hip/left_knee``: a joint below its parents."""
    paths: list[str] = []
    for name, parent in zip(SMPL_NAMES, SMPL_PARENTS, strict=True):
        paths.append(name if parent < 0 else f"{paths[parent]}/{name}")
    return paths


def _animation(stage: Any, skeleton: Any, motion: Motion, codes: NDArray[np.float64]) -> Any:
    from pxr import UsdSkel, Vt

    animation = UsdSkel.Animation.Define(stage, skeleton.GetPath().AppendChild("animation"))
    animation.CreateJointsAttr(_joint_paths())
    quaternions = Rotation.from_matrix(motion.rotations.reshape(-1, 3, 3)).as_quat().reshape(len(motion), -1, 4)
    offsets = motion.rest_joints - motion.rest_joints[list(SMPL_PARENTS)]
    rotations, translations = animation.CreateRotationsAttr(), animation.CreateTranslationsAttr()
    animation.CreateScalesAttr(Vt.Vec3hArray.FromNumpy(np.ones((len(SMPL_NAMES), 3), np.float16)))
    for code, turns, pelvis in zip(codes, quaternions, motion.pelvis, strict=True):
        offsets[0] = pelvis
        rotations.Set(Vt.QuatfArray.FromNumpy(np.ascontiguousarray(turns, np.float32)), code)
        translations.Set(_points(offsets), code)
    binding = UsdSkel.BindingAPI.Apply(skeleton.GetPrim())
    binding.CreateAnimationSourceRel().SetTargets([animation.GetPath()])
    return animation


def _mesh(stage: Any, root: Any, motion: Motion, faces: NDArray[np.int64], weights: SkinWeights) -> Any:
    from pxr import Gf, UsdGeom, UsdSkel, Vt

    mesh = UsdGeom.Mesh.Define(stage, root.GetPath().AppendChild(f"{motion.name}_body"))
    mesh.CreatePointsAttr(_points(motion.rest_vertices))
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(faces), 3, np.int32)))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(faces.astype(np.int32).ravel()))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateNormalsAttr(_points(rest_normals(motion, faces)))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    mesh.CreateExtentAttr(_points(np.stack([motion.rest_vertices.min(0), motion.rest_vertices.max(0)])))
    mesh.CreateDisplayColorAttr([Gf.Vec3f(*linear_rgb(track_colour(motion.id)))])
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    size = weights.joints.shape[1]
    binding.CreateJointIndicesPrimvar(False, size).Set(Vt.IntArray.FromNumpy(weights.joints.astype(np.int32).ravel()))
    shares = (weights.weights / np.float32(WEIGHT_UNITS)).astype(np.float32)
    binding.CreateJointWeightsPrimvar(False, size).Set(Vt.FloatArray.FromNumpy(shares.ravel()))
    binding.CreateGeomBindTransformAttr(Gf.Matrix4d(1))
    return mesh


def _material(stage: Any, root: Any, mesh: Any, motion: Motion) -> None:
    from pxr import Gf, Sdf, UsdShade

    material = UsdShade.Material.Define(stage, root.GetPath().AppendChild("material"))
    shader = UsdShade.Shader.Define(stage, material.GetPath().AppendChild("surface"))
    shader.CreateIdAttr("UsdPreviewSurface")
    colour = Gf.Vec3f(*linear_rgb(track_colour(motion.id)))
    shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).Set(colour)
    shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(0.8)
    material.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)


def _blend_shapes(
    stage: Any,
    mesh: Any,
    animation: Any,
    motion: Motion,
    morphs: PoseShapes,
    weights: NDArray[np.float64],
    codes: NDArray[np.float64],
) -> None:
    """The pose-dependent shapes: the points at rest are those of all weights at zero."""
    from pxr import UsdSkel, Vt

    mesh.GetPointsAttr().Set(_points(motion.rest_vertices + morphs.base))
    names = [f"pose_shape_{number}" for number in range(len(morphs.shapes))]
    targets = []
    for name, shape in zip(names, morphs.shapes, strict=True):
        rows = np.flatnonzero(np.abs(shape).max(1) > SMALLEST_MOVE)
        blend_shape = UsdSkel.BlendShape.Define(stage, mesh.GetPath().AppendChild(name))
        blend_shape.CreateOffsetsAttr(_points(shape[rows]))
        blend_shape.CreatePointIndicesAttr(Vt.IntArray.FromNumpy(rows.astype(np.int32)))
        targets.append(blend_shape.GetPath())
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    binding.CreateBlendShapesAttr(names)
    binding.CreateBlendShapeTargetsRel().SetTargets(targets)
    animation.CreateBlendShapesAttr(names)
    values = animation.CreateBlendShapeWeightsAttr()
    for code, row in zip(codes, weights, strict=True):
        values.Set(Vt.FloatArray.FromNumpy(row.astype(np.float32)), code)


def _points(points: NDArray[np.floating]) -> Any:
    from pxr import Vt

    return Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(points, np.float32))
