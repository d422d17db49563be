"""The simple feature pyramid of ViTDet (Li et al., ECCV 2022, section 3): every scale from the last map alone."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from fourd_humans.detection.vitdet.backbone import ViT


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NormedConv(nn.Conv2d):
    """A convolution that keeps the size, with a channel norm instead of a bias."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int) -> None:
        super().__init__(channels_in, channels_out, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = ChannelNorm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class SimpleFeaturePyramid(nn.Module):
    """Maps at strides 4, 8, 16, 32 and 64 (p2 to p6) from the transformer's map at stride 16."""

    def __init__(self, net: ViT, width: int, channels: int = 256) -> None:
        super().__init__()
        self.net = net
        half, quarter = width // 2, width // 4

        def smoothed(width_in: int) -> list[nn.Module]:
            return [NormedConv(width_in, channels, 1), NormedConv(channels, channels, 3)]

        def doubled(width_in: int, width_out: int) -> nn.Module:
            return nn.ConvTranspose2d(width_in, width_out, 2, stride=2)

        self.simfp_2 = nn.Sequential(
            doubled(width, half), ChannelNorm(half), nn.GELU(), doubled(half, quarter), *smoothed(quarter)
        )
        self.simfp_3 = nn.Sequential(doubled(width, half), *smoothed(half))
        self.simfp_4 = nn.Sequential(*smoothed(width))
        self.simfp_5 = nn.Sequential(nn.MaxPool2d(2), *smoothed(width))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised, sides multiples of 64, to [p2, p3, p4, p5, p6], each (B, channels, ·, ·)."""
        x = self.net(images)
        maps = [scale(x) for scale in (self.simfp_2, self.simfp_3, self.simfp_4, self.simfp_5)]
        return [*maps, functional.max_pool2d(maps[-1], 1, stride=2)]
