"""The action transformer: scores of what each person of a scene does, in every frame.

Rajasegaran et al., "On the Benefits of 3D Pose and Tracking for Human Action Recognition", CVPR 2023 (LART), which
supplement S.7 of Humans in 4D judges recoveries with. Every (frame, person) of a scene is a token; all tokens attend to
all others. The people of a scene are the person in question, first, and those around.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fourd_humans.motion.pose_transformer import Blocks, PoseHead, sinusoids, three_layers
from fourd_humans.pose_features import CAMERA, NUM_POSE_FEATURES

JOINTS = 45 * 3
EPSILON = 1e-10  # added to the standard deviation, as in the released code


class SceneBatch(NamedTuple):
    """B scenes of T frames and P people.

    poses: (B, T, P, 229) pose features. detected: (B, T, P) bool; the other inputs of undetected people are not read.
    joints: (B, T, P, 135) 3D joints in the camera frame, depth offset divided by 200, or None.
    appearance: (B, T, P, F) features of the image, or None.
    """

    poses: Tensor
    detected: Tensor
    joints: Tensor | None = None
    appearance: Tensor | None = None

    def to(self, device: torch.device) -> SceneBatch:
        return SceneBatch(*(None if values is None else values.to(device) for values in self))  # type: ignore[arg-type]


class ActionTransformer(nn.Module):
    """Scores of `actions` classes for every person in every frame.

    The defaults are the pose-only network of the released launch script. Parameters are named as in released files.

    width: of the pose code; that of a token is the sum of `width`, `joints[-1]` and `appearance[-1]`.
    depth, heads, head_width, mlp_width: of the transformer's blocks.
    joints: hidden and output widths (h, h, w) of the encoder of 3D joints, or None for no such input.
    appearance: input, hidden and output widths (F, h, h, w) of the encoder of image features, or None.
    frames, people: the largest scene.
    dropout: of attention weights and the outputs of attention and MLP. drop_path: probability that a scene skips a
        branch of a block while training.
    relative_location: subtract the first person's mean location from everybody's. False in the released networks.
    kinetics: classes of the released networks' unused Kinetics head; 0 leaves out all that the actions do not need.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        actions: int = 60,
        width: int = 128,
        depth: int = 16,
        heads: int = 16,
        head_width: int = 64,
        mlp_width: int = 512,
        joints: Sequence[int] | None = None,
        appearance: Sequence[int] | None = None,
        frames: int = 250,
        people: int = 10,
        dropout: float = 0.1,
        drop_path: float = 0.4,
        relative_location: bool = False,
        kinetics: int = 400,
    ) -> None:
        super().__init__()
        self.actions, self.frames, self.people = actions, frames, people
        self.relative_location = relative_location
        self.pose_shape_encoder = nn.Sequential(
            nn.Linear(NUM_POSE_FEATURES, NUM_POSE_FEATURES), nn.ReLU(), nn.Linear(NUM_POSE_FEATURES, width)
        )
        token = width
        self.joint_encoder = None
        if joints is not None:
            self.joint_encoder = _mlp(JOINTS, *joints)
            token += joints[-1]
        self.apperance_encoder = None  # the released spelling
        if appearance is not None:
            self.apperance_encoder = _mlp(*appearance)
            token += appearance[-1]
        self.appearance_features = None if appearance is None else appearance[0]
        self.mask_token = nn.Parameter(torch.randn(token) * 0.02)
        self.pos_embedding = nn.Parameter(position_table(token, frames, people))
        self.transformer = Blocks(
            token, depth, heads, head_width, mlp_width, dropout, attention_dropout=dropout, drop_path=drop_path
        )
        self.action_head_ava = nn.ModuleList([nn.Sequential(nn.Linear(token, actions))])
        if kinetics:  # released files hold these, and are to load strictly
            self.pe = self.pos_embedding
            self.class_token = nn.Parameter(torch.randn(1, 1, token) * 0.02)
            self.conv_en = nn.Conv1d(token, token, 7, 5, 1)
            self.conv_de = nn.ConvTranspose1d(token, token, 7, 5, 1)
            self.smpl_head = nn.ModuleList([PoseHead(token, 1024, 3, conditioned=False)])
            self.loca_head = nn.ModuleList([three_layers(token, token, 3)])
            self.action_head_kinetics = three_layers(token, token, kinetics)
            for unused in (self.conv_en, self.conv_de, self.smpl_head, self.loca_head, self.action_head_kinetics):
                unused.requires_grad_(False)
            self.class_token.requires_grad_(False)
        self.register_buffer("mean", torch.zeros(NUM_POSE_FEATURES), persistent=False)
        self.register_buffer("std", torch.ones(NUM_POSE_FEATURES), persistent=False)

    @property
    def takes_joints(self) -> bool:
        return self.joint_encoder is not None

    @property
    def takes_appearance(self) -> bool:
        return self.apperance_encoder is not None

    @property
    def token_width(self) -> int:
        return len(self.mask_token)

    def normalise(self, poses: Tensor, detected: Tensor) -> Tensor:
        """Pose features (B, T, P, 229) to zero mean and unit standard deviation over the training data."""
        if self.relative_location:
            poses = poses.clone()
            poses[..., CAMERA] -= mean_location(poses[..., CAMERA], detected)[:, None, None]
        return (poses - self.mean) / (self.std + EPSILON)

    def encode(self, scene: SceneBatch, masked: Tensor | None = None, times: Tensor | None = None) -> Tensor:
        """Output tokens (B, T, P, D).

        masked: (B, T, P) bool, tokens replaced by the mask token, which nothing attends to. None, at test time: exactly
            the undetected ones. Otherwise, in training, those that are undetected and not masked attend to nothing and
            nothing attends to them.
        times: (T,) numbers of the frames, ascending, where they do not follow one another. None: 0, 1, 2, …
        """
        hidden_tokens = ~scene.detected if masked is None else masked
        tokens = self.embed(scene, hidden_tokens)
        frames, people = tokens.shape[1:3]
        positions = self.pos_embedding[:, :frames] if times is None else self.pos_embedding[:, times]
        tokens = tokens + positions[:, :, :people].permute(1, 2, 0)
        columns = hidden_tokens.flatten(1)[:, None, :]
        if masked is not None:
            missing = ~scene.detected.flatten(1)
            columns = columns | missing[:, None, :] | missing[:, :, None]
        tokens = self.transformer(tokens.flatten(1, 2), columns.expand(-1, frames * people, -1))
        return tokens.unflatten(1, (frames, people))

    def embed(self, scene: SceneBatch, masked: Tensor) -> Tensor:
        """Input tokens (B, T, P, D), without positions."""
        unread = masked[..., None] | ~scene.detected[..., None]
        codes = [self.pose_shape_encoder(self.normalise(scene.poses, scene.detected).masked_fill(unread, 0.0))]
        for encoder, values in ((self.joint_encoder, scene.joints), (self.apperance_encoder, scene.appearance)):
            if encoder is not None:
                assert values is not None
                codes.append(encoder(values.masked_fill(unread, 0.0)))
        return torch.where(masked[..., None], self.mask_token, torch.cat(codes, -1))

    def read_actions(self, tokens: Tensor) -> Tensor:
        """Logits (..., actions) from output tokens (..., D)."""
        return self.action_head_ava[0](tokens)

    def forward(self, scene: SceneBatch, masked: Tensor | None = None, times: Tensor | None = None) -> Tensor:
        """Logits (B, T, P, actions); arguments as for `encode`. A sigmoid makes scores of them."""
        return self.read_actions(self.encode(scene, masked, times))


def mean_location(locations: Tensor, detected: Tensor) -> Tensor:
    """(B, 3) mean of the first person's locations where detected; 0 where that is nowhere."""
    weights = detected[:, :, 0, None].to(locations.dtype)
    return (locations[:, :, 0].masked_fill(weights == 0, 0.0)).sum(1) / weights.sum(1).clamp(min=1)


def position_table(width: int, frames: int, people: int) -> Tensor:
    """(width, frames, people): a sinusoid of the person in the first half of the channels, of the frame in the second.

    As the released code does; the paper has the halves the other way round.
    """
    half = width // 2
    person = sinusoids(people, half)[None].expand(frames, -1, -1)
    time = sinusoids(frames, width - half)[:, None].expand(-1, people, -1)
    return torch.cat([person, time], -1).permute(2, 0, 1).contiguous()


def _mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
