"""The plain vision transformer of ViTDet (Li et al., ECCV 2022, section 3): attention mostly within windows.

Modules are named after the released checkpoint's entries, so that it loads as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ViT(nn.Module):
    """Image patches in, one feature map out.

    image_size: side of the square picture the relative positions are made for; pretraining_size: of the one the
    absolute positions come from. window_blocks: the blocks that attend within windows of `window_size` patches.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        window_size: int,
        window_blocks: tuple[int, ...],
        image_size: int,
        pretraining_size: int = 224,
        patch_size: int = 16,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(width, patch_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, (pretraining_size // patch_size) ** 2 + 1, width))
        self.blocks = nn.ModuleList(
            Block(width, heads, image_size // patch_size, window_size if i in window_blocks else None)
            for i in range(depth)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised, sides multiples of the patch, to (B, width, H / patch, W / patch)."""
        x = self.patch_embed(images)
        x = x + self._positions(x.shape[1], x.shape[2])
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)

    def _positions(self, height: int, width: int) -> Tensor:
        """(1, height, width, C): the pretrained grid of positions, resampled; its class token's entry is not used."""
        pretrained = self.pos_embed[:, 1:]
        side = round(pretrained.shape[1] ** 0.5)
        grid = pretrained.unflatten(1, (side, side)).permute(0, 3, 1, 2)
        if (height, width) != (side, side):
            grid = functional.interpolate(grid, (height, width), mode="bicubic", align_corners=False)
        return grid.permute(0, 2, 3, 1)


class PatchEmbedding(nn.Module):
    """Each patch through one linear map, written as a convolution."""

    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).permute(0, 2, 3, 1)


class Block(nn.Module):
    """Pre-norm attention and MLP, each with its residual, on (B, H, W, C)."""

    def __init__(self, width: int, heads: int, grid_size: int, window_size: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, grid_size, window_size)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class MLP(nn.Module):
    """Two linear layers, the hidden one four times as wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class Attention(nn.Module):
    """Multi-head attention with decomposed relative positions (Li et al., MViTv2, CVPR 2022, equation 4).

    Global attention is attention within a single window, the whole map. The map is padded with zero tokens to a
    multiple of the window; those take part, as in training. Queries, keys and values of zero tokens are just the
    projection's bias, so only real tokens go through the projections.
    """

    def __init__(self, width: int, heads: int, grid_size: int, window_size: int | None) -> None:
        super().__init__()
        self.heads = heads
        self.window_size = window_size
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        distances = 2 * (window_size or grid_size) - 1
        self.rel_pos_h = nn.Parameter(torch.zeros(distances, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(distances, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        B, H, W, C = x.shape
        h, w = (self.window_size, self.window_size) if self.window_size else (H, W)
        rows, columns = -(-H // h), -(-W // w)

        qkv = self.qkv(x)
        if (rows * h, columns * w) != (H, W):
            padded = self.qkv.bias.to(qkv.dtype).expand(B, rows * h, columns * w, -1).clone()
            padded[:, :H, :W] = qkv
            qkv = padded
        # Windows are only a view here; the copies that make them contiguous are those the attention needs anyway.
        qkv = qkv.view(B, rows, h, columns, w, 3, self.heads, C // self.heads).permute(5, 0, 1, 3, 6, 2, 4, 7)
        q, k, v = qkv.reshape(3, B * rows * columns, self.heads, h * w, C // self.heads)

        y = attend(q, k, v, position_table(self.rel_pos_h, h), position_table(self.rel_pos_w, w))

        y = y.view(B, rows, columns, self.heads, h, w, C // self.heads).permute(0, 1, 4, 2, 5, 3, 6)
        y = y.reshape(B, rows * h, columns * w, C)[:, :H, :W]
        return self.proj(y)


def attend(q: Tensor, k: Tensor, v: Tensor, positions_h: Tensor, positions_w: Tensor) -> Tensor:
    """Attention of (N, heads, h·w, C) queries, keys and values with relative positions.

    positions_h: (h, h, C) and positions_w: (w, w, C), by query and key row or column.
    A position adds q · R_h[y, key's y] + q · R_w[x, key's x] to a score. Stored for all pairs of tokens that would
    take gigabytes, and keep the attention from its fastest kernels. Instead q's products with all rows and columns
    are further channels of q, and which row and column a key lies in, as zeros and a one, further channels of k.
    """
    h, w, channels = len(positions_h), len(positions_w), q.shape[-1]
    spare = -(channels + h + w) % 8  # zeros, since the fastest kernels take multiples of 8
    grid, root = q.unflatten(2, (h, w)), channels**0.5  # the scores are divided by the root
    by_row = grid @ (positions_h * root).to(q.dtype).mT  # (N, heads, h, w, key's row)
    columns = functional.pad(positions_w * root, (0, 0, 0, spare)).to(q.dtype)
    by_column = torch.einsum("nhyxc,xkc->nhyxk", grid, columns)
    row = torch.eye(h, dtype=q.dtype, device=q.device).repeat_interleave(w, 0)
    column = torch.eye(w, w + spare, dtype=q.dtype, device=q.device).repeat(h, 1)
    wide_q = torch.cat([q, by_row.flatten(2, 3), by_column.flatten(2, 3)], -1)
    wide_k = torch.cat([k, torch.cat([row, column], -1).expand(*k.shape[:2], -1, -1)], -1)
    wide_v = functional.pad(v, (0, h + w + spare))  # they also want all three equally wide
    y = functional.scaled_dot_product_attention(wide_q, wide_k, wide_v, scale=1 / root)
    return y[..., :channels]


def position_table(relative: Tensor, size: int) -> Tensor:
    """(2·n − 1, C) vectors by distance to (size, size, C) by query and key; resampled where n is not `size`."""
    if len(relative) != 2 * size - 1:
        relative = functional.interpolate(relative.T[None], size=2 * size - 1, mode="linear")[0].T
    place = torch.arange(size, device=relative.device)
    return relative[place[:, None] - place[None, :] + size - 1]
