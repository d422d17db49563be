"""Tells bodies that people have from bodies that the network makes up, joint by joint (Kanazawa et al., HMR, 2018).

Used in training only. Attribute names are those of the released checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fourd_humans.body.joints import NUM_BODY_JOINTS


class Discriminator(nn.Module):
    """Body pose and shape to 25 scores: the 23 joints one by one, the shape, and all joints together."""

    def __init__(self) -> None:
        super().__init__()
        self.D_conv1 = nn.Conv2d(9, 32, kernel_size=1)
        self.D_conv2 = nn.Conv2d(32, 32, kernel_size=1)
        self.pose_out = nn.ModuleList(nn.Linear(32, 1) for _ in range(NUM_BODY_JOINTS))
        self.betas_fc1 = nn.Linear(10, 10)
        self.betas_fc2 = nn.Linear(10, 5)
        self.betas_out = nn.Linear(5, 1)
        self.D_alljoints_fc1 = nn.Linear(32 * NUM_BODY_JOINTS, 1024)
        self.D_alljoints_fc2 = nn.Linear(1024, 1024)
        self.D_alljoints_out = nn.Linear(1024, 1)

    def forward(self, body_pose: Tensor, betas: Tensor) -> Tensor:
        """body_pose (N, 23, 3, 3) rotation matrices, betas (N, 10); returns (N, 25)."""
        joints = body_pose.flatten(2).transpose(1, 2).unsqueeze(2)  # (N, 9, 1, 23)
        joints = F.relu(self.D_conv2(F.relu(self.D_conv1(joints))))  # (N, 32, 1, 23)
        each = [linear(joints[:, :, 0, j]) for j, linear in enumerate(self.pose_out)]
        shape = self.betas_out(F.relu(self.betas_fc2(F.relu(self.betas_fc1(betas)))))
        together = F.relu(self.D_alljoints_fc2(F.relu(self.D_alljoints_fc1(joints.flatten(1)))))
        return torch.cat([*each, shape, self.D_alljoints_out(together)], dim=1)
