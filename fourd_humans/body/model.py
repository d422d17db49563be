"""The body: an SMPL-family layer that turns rotations and shape coefficients into a mesh and joints.

Loper et al., "SMPL: A Skinned Multi-Person Linear Model", 2015: a template, shape and pose blend shapes (equations 8
and 9), joints regressed from the shaped template (equation 10), and linear blend skinning (equations 2 to 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from fourd_humans.body.joints import LIMB_12, LIMB_NAMES, JointWeights, joint_weights
from fourd_humans.body.loading import NUM_BETAS, SMPL, BodyArrays, read_body, read_extra_joints

DATA = Path(str(files(__package__) / "data"))
OPEN_BODY_FILE = DATA / "open_body_neutral.npz"


@dataclass(frozen=True)
class BodyOutput:
    """A posed batch of bodies, in metres, each in the model's own frame: no translation is added.

    vertices: (N, V, 3). joints: (N, 45, 3), see `fourd_humans.body.joints`. skeleton: (N, 24, 3) SMPL's own joints.
    """

    vertices: Tensor
    joints: Tensor
    skeleton: Tensor


class SkinnedPoints(nn.Module):
    """Points of the body's surface that follow shape and pose: the whole mesh, or the few vertices that joints need.

    template: (V, 3) at rest. directions: (10 + 207, V, 3) what each beta and each entry of the pose feature adds.
    weights: (V, 24) how far each point follows each joint.
    """

    template: Tensor
    directions: Tensor
    weights: Tensor

    def __init__(self, template: Tensor, directions: Tensor, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("template", template, persistent=False)
        self.register_buffer("directions", directions, persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    def subset(self, points: Tensor) -> SkinnedPoints:
        return SkinnedPoints(self.template[points], self.directions[:, points].contiguous(), self.weights[points])

    def forward(self, coefficients: Tensor, rotations: Tensor, translations: Tensor) -> Tensor:
        """coefficients: (N, 217) betas, then pose feature. rotations: (N, 24, 3, 3), translations: (N, 24, 3): what
        takes each joint's surroundings from the rest pose to their place. Returns (N, V, 3)."""
        rest = torch.addmm(self.template.flatten(), coefficients, self.directions.flatten(1)).unflatten(1, (-1, 3))
        transforms = torch.cat([rotations, translations[..., None]], dim=-1).flatten(2)  # (N, 24, 12)
        blended = (self.weights @ transforms).unflatten(2, (3, 4))
        return (blended[..., :3] @ rest[..., None]).squeeze(-1) + blended[..., 3]


class BodyModel(nn.Module):
    """A body with SMPL's skeleton of 24 joints, 10 shape coefficients and 45 joints to compare with.

    Its arrays are buffers: it moves and changes precision with ``.to()``. They are not saved with a network's state,
    because the body has its own file. `shape_space` names the body that betas belong to; to another they mean nothing.

    >>> body = BodyModel.open_body()
    >>> one = torch.eye(3).expand(1, 24, 3, 3)
    >>> posed = body(one[:, :1], one[:, 1:], torch.zeros(1, 10))
    >>> posed.vertices.shape, posed.joints.shape
    (torch.Size([1, 6890, 3]), torch.Size([1, 45, 3]))
    """

    J_regressor: Tensor
    J_template: Tensor
    J_shapedirs: Tensor
    joints_from_skeleton: Tensor
    joints_from_vertices: Tensor
    joint_vertices: Tensor

    def __init__(self, arrays: BodyArrays, joints: JointWeights) -> None:
        super().__init__()
        self.shape_space = arrays.shape_space
        self.faces: np.ndarray = arrays.faces
        self.parents: tuple[int, ...] = arrays.parents

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))

        directions = np.concatenate([arrays.shapedirs, arrays.posedirs], axis=2).transpose(2, 0, 1)
        self.surface = SkinnedPoints(tensor(arrays.v_template), tensor(directions), tensor(arrays.weights))
        used = torch.from_numpy(joints.vertices)
        self.joint_surface = self.surface.subset(used)
        regressor = arrays.J_regressor
        buffers = {
            "J_regressor": tensor(regressor),
            "J_template": tensor(regressor @ arrays.v_template),
            "J_shapedirs": tensor(np.einsum("jv,vck->jck", regressor, arrays.shapedirs)),
            "joints_from_skeleton": tensor(joints.from_skeleton),
            "joints_from_vertices": tensor(joints.from_vertices),
            "joint_vertices": used,
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    @classmethod
    def open_body(cls) -> BodyModel:
        """The body that comes with the package: SMPL's skeleton and layout, a shape space of its own (docs/body.md)."""
        return cls.from_file(OPEN_BODY_FILE)

    @classmethod
    def from_file(cls, path: Path | str) -> BodyModel:
        """A body from SMPL's own file, ``.pkl`` or ``.npz``, or from what `loading.import_smpl` made of it.

        The 19 extra joints come from ``SMPL_to_J19.npz`` or ``.pkl`` in the same folder; without one, from the SMPL
        joints and vertices nearest to them.

        Raises: FourDHumansError naming the file if it cannot be read or is not such a body.
        """
        arrays = read_body(path)
        is_smpl = arrays.shape_space == SMPL
        surface = read_extra_joints(Path(path).parent) if is_smpl else _open_body_limbs()
        return cls(arrays, joint_weights(arrays.v_template, surface))

    @property
    def v_template(self) -> Tensor:
        """(V, 3) the mean body in the rest pose."""
        return self.surface.template

    @property
    def shapedirs(self) -> Tensor:
        """(V, 3, 10) what one unit of each beta adds."""
        return self.surface.directions[:NUM_BETAS].permute(1, 2, 0)

    @property
    def posedirs(self) -> Tensor:
        """(V, 3, 207) what the 23 rotations' matrices, less the identity, add."""
        return self.surface.directions[NUM_BETAS:].permute(1, 2, 0)

    @property
    def weights(self) -> Tensor:
        """(V, 24) how far each vertex follows each joint; rows sum to 1."""
        return self.surface.weights

    def forward(self, global_orient: Tensor, body_pose: Tensor, betas: Tensor) -> BodyOutput:
        """Mesh and joints. global_orient: (N, 1, 3, 3), body_pose: (N, 23, 3, 3) rotation matrices; betas: (N, 10)."""
        with torch.autocast(global_orient.device.type, enabled=False):  # half-precision sums would cost millimetres
            coefficients, rotations, positions, translations = self._pose(global_orient, body_pose, betas)
            vertices = self.surface(coefficients, rotations, translations)
            joints = self.joints_from_skeleton @ positions
            joints = joints + self.joints_from_vertices @ vertices[:, self.joint_vertices]
        return BodyOutput(vertices, joints, positions)

    def joints(self, global_orient: Tensor, body_pose: Tensor, betas: Tensor) -> Tensor:
        """The 45 joints (N, 45, 3) without the mesh: only the vertices that they need are posed."""
        with torch.autocast(global_orient.device.type, enabled=False):
            coefficients, rotations, positions, translations = self._pose(global_orient, body_pose, betas)
            vertices = self.joint_surface(coefficients, rotations, translations)
            return self.joints_from_skeleton @ positions + self.joints_from_vertices @ vertices

    @torch.inference_mode()
    def joints_of_arrays(
        self, global_orient: NDArray[np.float32], body_pose: NDArray[np.float32], betas: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The same for numpy arrays, whatever device the body is on."""
        arrays = (global_orient, body_pose, betas)
        joints = self.joints(*(torch.from_numpy(array).to(self.J_template.device) for array in arrays))
        return joints.cpu().numpy()

    def pelvis_of(self, betas: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 3) the pelvis joint, about which the body turns, in the body's own position. betas: (N, 10) arrays."""
        template, directions = self.J_template[0].cpu().numpy(), self.J_shapedirs[0].cpu().numpy()
        pelvis: NDArray[np.float32] = template + betas @ directions.T
        return pelvis

    def skeleton(self, global_orient: Tensor, body_pose: Tensor, betas: Tensor) -> Tensor:
        """SMPL's own 24 joints (N, 24, 3) from the kinematic chain alone."""
        with torch.autocast(global_orient.device.type, enabled=False):
            return self._pose(global_orient, body_pose, betas)[2]

    def _pose(self, global_orient: Tensor, body_pose: Tensor, betas: Tensor) -> tuple[Tensor, ...]:
        """(N, 217) betas and pose feature; and each joint's global rotation, position, and translation from rest."""
        dtype = self.J_template.dtype
        local = torch.cat([global_orient, body_pose], dim=1).to(dtype)
        betas = betas.to(dtype)
        rest = self.J_template + F.linear(betas, self.J_shapedirs.flatten(0, 1)).unflatten(1, (-1, 3))

        rotations, positions = [local[:, 0]], [rest[:, 0]]
        for joint, parent in enumerate(self.parents[1:], start=1):
            bone = (rest[:, joint] - rest[:, parent])[..., None]
            positions.append(positions[parent] + (rotations[parent] @ bone).squeeze(-1))
            rotations.append(rotations[parent] @ local[:, joint])
        rotation, position = torch.stack(rotations, dim=1), torch.stack(positions, dim=1)

        translation = position - (rotation @ rest[..., None]).squeeze(-1)
        identity = torch.eye(3, dtype=dtype, device=local.device)
        coefficients = torch.cat([betas, (local[:, 1:] - identity).flatten(1)], dim=1)
        return coefficients, rotation, position, translation


def _open_body_limbs() -> dict[int, np.ndarray]:
    """The limb joints' (V,) weights on the open body, from its COCO keypoints."""
    with np.load(DATA / "coco23_regressor.npz", allow_pickle=False) as stored:
        rows = dict(zip(stored["coco23_names"].tolist(), stored["coco23_regressor"], strict=True))
    return {joint: rows[name] for joint, name in zip(LIMB_12, LIMB_NAMES, strict=True)}
