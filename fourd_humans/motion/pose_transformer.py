"""The masked-token pose transformer: predicts a person's pose ahead and fills it in where the person is hidden.

Humans in 4D, section 4 and supplement S.4. Every frame of one person is a token; a learned mask token stands for a
frame that is missing or yet to come, and the network says from the other tokens what belongs there.

A frame is 229 features: global orientation (9, a row-major matrix), body pose (207), betas (10), camera (3).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from fourd_humans.geometry.rotations import matrix_to_rotation_6d, rotation_6d_to_matrix
from fourd_humans.motion.time_kernel import Blend, TimeKernel
from fourd_humans.pose_features import CAMERA, NUM_POSE_FEATURES, ROTATIONS

STATE = 144 + 10 + 3  # rotations in 6D, betas, camera
UNATTENDED = -1000.0  # the released code's attention score of what is not there
SINUSOIDS = 10000  # length of the position tables that the released checkpoint carries along


class PoseTransformer(nn.Module):
    """Tokens in, tokens out, and the heads that read poses, locations and actions from them.

    The defaults are the released network: 125 frames, a strided convolution over time as a bottleneck, poses read as
    corrections to a mean pose. With ``bottleneck=None`` it is the supplement's plain transformer, for which
    ``frames=128``. Parameters are named as in the released checkpoint.

    frames: the longest sequence. width: of a token. depth, heads, head_width, mlp_width: of the transformer's blocks.
    bottleneck: (stride, padding) of the convolution over time, or None for the plain layout.
    readout_width, readout_steps: the pose head's hidden layers, and how many times it corrects itself.
    start: what the heads correct: the ``mean`` pose, or a blend of the frames ``seen`` (`TimeKernel`).
    dropout: of tokens and blocks while training. actions: number of action classes, 0 for no such head.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        frames: int = 125,
        width: int = 256,
        depth: int = 6,
        heads: int = 8,
        head_width: int = 64,
        mlp_width: int = 512,
        bottleneck: tuple[int, int] | None = (5, 1),
        readout_width: int = 1024,
        readout_steps: int = 3,
        start: Literal["mean", "seen"] = "mean",
        dropout: float = 0.1,
        actions: int = 60,
    ) -> None:
        super().__init__()
        self.frames = frames
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        self.pos_embedding_learned1 = nn.Parameter(0.3 * sinusoids(frames, width)[None])
        self.pose_shape_encoder = nn.Sequential(
            nn.Linear(NUM_POSE_FEATURES, NUM_POSE_FEATURES), nn.ReLU(), nn.Linear(NUM_POSE_FEATURES, width)
        )
        self.dropout = nn.Dropout(dropout)
        self.transformer1 = Blocks(width, depth, heads, head_width, mlp_width, dropout)
        self.has_bottleneck = bottleneck is not None
        if bottleneck is not None:
            stride, padding = bottleneck
            kernel = stride + 2 * padding
            self.class_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
            self.pos_embedding_learned2 = nn.Parameter(torch.randn(1, frames, width) * 0.02)
            self.conv_en = nn.Conv1d(width, width, kernel, stride, padding)
            self.conv_de = nn.ConvTranspose1d(width, width, kernel, stride, padding)
            self.transformer2 = Blocks(width, 1, heads, head_width, mlp_width, dropout)
            # Unused, but the released checkpoint holds them and is to load strictly.
            self.pos_embedding = nn.Parameter(sinusoids(SINUSOIDS, width), requires_grad=False)
            self.pe = nn.Parameter(sinusoids(SINUSOIDS, width), requires_grad=False)
            self.transformer = Blocks(width, depth, heads, head_width, mlp_width, dropout).requires_grad_(False)
        self.smpl_head = nn.ModuleList([PoseHead(width, readout_width, readout_steps, conditioned=start == "seen")])
        self.loca_head = nn.ModuleList([three_layers(width, width, 3)])
        if actions:
            self.action_head_ava = nn.ModuleList([nn.Sequential(nn.Linear(width, actions))])
        self.start = TimeKernel() if start == "seen" else None
        self.register_buffer("mean", torch.zeros(NUM_POSE_FEATURES), persistent=False)
        self.register_buffer("std", torch.ones(NUM_POSE_FEATURES), persistent=False)

    def normalise(self, poses: Tensor) -> Tensor:
        """Raw features (..., 229) to zero mean and unit std over the training data."""
        return (poses - self.mean) / self.std

    def encode(
        self, poses: Tensor, masked: Tensor, missing: Tensor | None = None, times: Tensor | None = None
    ) -> Tensor:
        """The output tokens (B, T, width) of raw poses (B, T, 229).

        masked: (B, T) bool, frames that the mask token stands for; their features are not looked at.
        missing: (B, T) bool, frames that do not exist at all and attend to nothing; they are given the pose's token
            unless also masked. None: all exist.
        times: (B, T) positions in the sequence, below `frames`. None: 0, 1, 2, … Only the plain layout takes others,
            since the bottleneck needs the sequence without holes.
        """
        tokens = self.pose_shape_encoder(self.normalise(poses).masked_fill(masked[..., None], 0.0))
        tokens = torch.where(masked[..., None], self.mask_token, tokens)
        positions = self.pos_embedding_learned1[0]
        tokens = tokens + (positions[: tokens.shape[1]] if times is None else positions[times])
        hidden = masked[:, None, :].expand(-1, masked.shape[1], -1)
        if missing is not None:
            hidden = hidden | missing[:, None, :] | missing[:, :, None]
        tokens = self.transformer1(self.dropout(tokens), hidden)
        if self.has_bottleneck:
            tokens = self.conv_de(self.conv_en(tokens.transpose(1, 2))).transpose(1, 2)
            tokens = self.transformer2(tokens + self.pos_embedding_learned2, None)
        return tokens

    def read_pose(self, tokens: Tensor, start: Blend | None = None) -> Tensor:
        """Raw features (..., 229) from output tokens (..., width); `start`: see `blend`."""
        return torch.cat([self.smpl_head[0](tokens, start)[..., :226], self.read_location(tokens, start)], -1)

    def read_location(self, tokens: Tensor, start: Blend | None = None) -> Tensor:
        """Camera translations (..., 3), with depth divided by 200, from output tokens (..., width)."""
        location = self.loca_head[0](tokens)
        return location if start is None else start.features[..., CAMERA] + start.std[..., CAMERA] * location

    def read_actions(self, tokens: Tensor) -> Tensor:
        """Action scores (..., actions), before the sigmoid, from output tokens (..., width)."""
        return self.action_head_ava[0](tokens)

    def blend(self, poses: Tensor, masked: Tensor, times: Tensor | None = None) -> Blend | None:
        """What the heads start from, in raw features, or None for the mean pose. Arguments as for `encode`."""
        if self.start is None:
            return None
        if times is None:
            times = torch.arange(poses.shape[1], device=poses.device).expand(poses.shape[:2])
        features, std = self.start(self.normalise(poses), ~masked, times)
        return Blend(features * self.std + self.mean, std * self.std)

    def forward(self, poses: Tensor, masked: Tensor, times: Tensor | None = None) -> Tensor:
        """Raw features (B, T, 229) of all frames, masked ones included; arguments as for `encode`."""
        return self.read_pose(self.encode(poses, masked, times=times), self.blend(poses, masked, times))


class Blocks(nn.Module):
    """Pre-norm transformer blocks, without a last norm.

    dropout: of the branches' outputs and inside the MLP. attention_dropout: of attention weights.
    drop_path: probability that a sequence skips a branch while training.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        head_width: int,
        mlp_width: int,
        dropout: float,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.drop_path = _stochastic_depth(drop_path)
        self.layers = nn.ModuleList(
            nn.ModuleList([PreNorm(width, layer) for layer in layers])
            for layers in (
                (
                    Attention(width, heads, head_width, dropout, attention_dropout),
                    FeedForward(width, mlp_width, dropout),
                )
                for _ in range(depth)
            )
        )

    def forward(self, tokens: Tensor, hidden: Tensor | None) -> Tensor:
        for block in self.layers:
            attention, feed_forward = block.children()
            tokens = tokens + self.drop_path(attention(tokens, hidden))
            tokens = tokens + self.drop_path(feed_forward(tokens))
        return tokens


def _stochastic_depth(probability: float) -> nn.Module:
    """Only imported for a probability: torchvision takes nearly as long to import as PyTorch."""
    if not probability:
        return nn.Identity()
    from torchvision.ops import StochasticDepth

    depth: nn.Module = StochasticDepth(probability, "row")
    return depth


class PreNorm(nn.Module):
    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn

    def forward(self, tokens: Tensor, *context: Tensor | None) -> Tensor:
        return self.fn(self.norm(tokens), *context)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, head_width: int, dropout: float, attention_dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = nn.Dropout(attention_dropout)
        self.scale = head_width**-0.5
        self.to_qkv = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * head_width, width), nn.Dropout(dropout))

    def forward(self, tokens: Tensor, hidden: Tensor | None) -> Tensor:
        """hidden: (B, T, T) bool, [b, i, j] True where token i does not attend to token j."""
        q, k, v = self.to_qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) * self.scale
        if hidden is not None:
            scores = scores.masked_fill(hidden[:, None], UNATTENDED)
        return self.to_out((self.dropout(scores.softmax(-1)) @ v).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return self.net(tokens)


class PoseHead(nn.Module):
    """Reads pose, shape and camera by correcting a start a few times, as HMR does, with rotations in 6D.

    conditioned: True if the start comes with stds. They go into the corrections, which are then in units of them: small
    where the start is good.
    """

    init_body_pose: Tensor
    init_betas: Tensor
    init_cam: Tensor

    def __init__(self, width: int, hidden: int, steps: int, conditioned: bool) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("init_body_pose", torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(24)[None])
        self.register_buffer("init_betas", torch.zeros(1, 10))
        self.register_buffer("init_cam", torch.zeros(1, 3))
        self.fc1 = nn.Linear(width + STATE + (STATE if conditioned else 0), hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.decpose = nn.Linear(hidden, 144)
        self.decshape = nn.Linear(hidden, 10)
        self.deccam = nn.Linear(hidden, 3)
        for layer in (self.decpose, self.decshape, self.deccam):
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor, start: Blend | None) -> Tensor:
        if start is None:
            state = torch.cat([self.init_body_pose, self.init_betas, self.init_cam], -1)
            state, unit, known = state.expand(*tokens.shape[:-1], -1), torch.ones_like(state), tokens
        else:
            state, unit = _to_6d(start.features), _to_6d(start.std)
            known = torch.cat([tokens, unit], -1)
        for _ in range(self.steps):
            features = self.fc2(self.fc1(torch.cat([known, state], -1)).relu()).relu()
            change = [self.decpose(features), self.decshape(features), self.deccam(features)]
            state = state + unit * torch.cat(change, -1)
        rotations = rotation_6d_to_matrix(state[..., :144].unflatten(-1, (24, 6)))
        return torch.cat([rotations.flatten(-3), state[..., 144:]], -1)


def _to_6d(features: Tensor) -> Tensor:
    """(..., 229) -> (..., 157): of each rotation matrix the first two columns, one after the other."""
    rotations = matrix_to_rotation_6d(features[..., ROTATIONS].unflatten(-1, (24, 3, 3)))
    return torch.cat([rotations.flatten(-2), features[..., 216:]], -1)


def three_layers(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out)
    )


def sinusoids(length: int, width: int) -> Tensor:
    """(length, width) sines and cosines of the position, with wavelengths from 2π to 10000·2π."""
    angles = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]
