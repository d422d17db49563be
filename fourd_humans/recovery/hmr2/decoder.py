"""The SMPL head: a transformer decoder whose one query token gathers from the image tokens (supplement, section A).

Attribute names are those of the released checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fourd_humans.body.joints import NUM_SMPL_JOINTS

NUM_BETAS = 10


def _heads(x: Tensor, heads: int) -> Tensor:
    """(N, T, heads·d) as (N, heads, T, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of (N, heads, T, d) queries to (N, heads, S, d) keys and values, heads joined: (N, T, heads·d)."""
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    def __init__(self, dim: int, heads: int, dim_head: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * dim_head, dim), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (_heads(part, self.heads) for part in self.to_qkv(x).chunk(3, dim=-1))
        return self.to_out(_attend(q, k, v))


class CrossAttention(nn.Module):
    """Queries from the tokens; keys and values from `context`, which is taken as it is, without a norm."""

    def __init__(self, dim: int, context_dim: int, heads: int, dim_head: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_kv = nn.Linear(context_dim, 2 * heads * dim_head, bias=False)
        self.to_q = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * dim_head, dim), nn.Dropout(dropout))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        k, v = (_heads(part, self.heads) for part in self.to_kv(context).chunk(2, dim=-1))
        return self.to_out(_attend(_heads(self.to_q(x), self.heads), k, v))


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, hidden_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden_dim, dim), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class PreNorm(nn.Module):
    """x + fn(norm(x), …)"""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return x + self.fn(self.norm(x), *context)


class Layer(nn.ModuleList):
    """Self-attention, cross-attention and MLP, each after a layer norm and added to what came in."""

    def __init__(self, dim: int, context_dim: int, heads: int, dim_head: int, mlp_dim: int, dropout: float) -> None:
        super().__init__(
            [
                PreNorm(dim, SelfAttention(dim, heads, dim_head, dropout)),
                PreNorm(dim, CrossAttention(dim, context_dim, heads, dim_head, dropout)),
                PreNorm(dim, FeedForward(dim, mlp_dim, dropout)),
            ]
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        self_attention, cross_attention, feed_forward = self
        return feed_forward(cross_attention(self_attention(x), context))


class Layers(nn.Module):
    def __init__(
        self, dim: int, context_dim: int, depth: int, heads: int, dim_head: int, mlp_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(dim, context_dim, heads, dim_head, mlp_dim, dropout) for _ in range(depth))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, context)
        return x


class QueryTransformer(nn.Module):
    """One learned token that has looked at the context: (N, S, context_dim) to (N, dim)."""

    def __init__(
        self, dim: int, context_dim: int, depth: int, heads: int, dim_head: int, mlp_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.to_token_embedding = nn.Linear(1, dim)
        self.pos_embedding = nn.Parameter(torch.randn(1, 1, dim))
        self.transformer = Layers(dim, context_dim, depth, heads, dim_head, mlp_dim, dropout)

    def forward(self, context: Tensor) -> Tensor:
        query = self.to_token_embedding(context.new_zeros(len(context), 1, 1)) + self.pos_embedding
        return self.transformer(query, context).squeeze(1)


class SMPLDecoder(nn.Module):
    """Image tokens (N, S, context_dim) to pose (N, 144), betas (N, 10) and camera (N, 3).

    Each is the mean (`init_…`) plus a linear readout of the query token. The pose is 24 joints' 6D rotations
    (Zhou et al. 2019), the first two columns of a matrix one after the other; the camera is weak perspective
    (s, tx, ty).
    """

    init_body_pose: Tensor
    init_betas: Tensor
    init_cam: Tensor

    def __init__(
        self,
        context_dim: int = 1280,
        dim: int = 1024,
        depth: int = 6,
        heads: int = 8,
        dim_head: int = 64,
        mlp_dim: int = 1024,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.transformer = QueryTransformer(dim, context_dim, depth, heads, dim_head, mlp_dim, dropout)
        self.decpose = nn.Linear(dim, 6 * NUM_SMPL_JOINTS)
        self.decshape = nn.Linear(dim, NUM_BETAS)
        self.deccam = nn.Linear(dim, 3)
        for readout in (self.decpose, self.decshape, self.deccam):
            nn.init.xavier_uniform_(readout.weight, gain=0.01)  # an untrained network answers with nearly the means
        mean_pose = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]).repeat(NUM_SMPL_JOINTS)
        mean_pose[4] = -1.0  # the root upside down, since y points down in the camera's frame
        self.register_buffer("init_body_pose", mean_pose[None])
        self.register_buffer("init_betas", torch.zeros(1, NUM_BETAS))
        self.register_buffer("init_cam", torch.tensor([[0.9, 0.0, 0.0]]))

    def forward(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        token = self.transformer(context)
        pose = self.init_body_pose + self.decpose(token)
        betas = self.init_betas + self.decshape(token)
        camera = self.init_cam + self.deccam(token)
        return pose, betas, camera
