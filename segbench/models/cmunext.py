"""CMUNeXt: a U-shape of large-kernel blocks. (N, in_channels, H, W) -> (N, num_classes, H, W).

Stem, then five encoder stages with a 2 x 2 max-pool before each but the first. Four decoder steps: x 2 bilinear
upsampling (corners not aligned) -> conv 3 x 3 -> BN -> ReLU -> concatenate [skip, up] -> skip fusion. Last a 1 x 1
convolution. All convolutions have a bias. H and W must be multiples of 16. Source: CMUNeXt (Tang et al. 2023).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segbench.base.checks import list_of_positive, multiple_of, positive_int
from segbench.blocks.cmunext import MIXER_EXPANSION, CMUNeXtBlock, gelu_bn
from segbench.blocks.conv_stem import conv_bn_relu

STAGES = 5
STRIDE = 16


class UpStep(nn.Module):
    """Upsample, fuse with the skip. (N, in_channels, H, W), (N, channels, 2H, 2W) -> (N, channels, 2H, 2W)."""

    def __init__(self, channels: int, in_channels: int) -> None:
        super().__init__()
        both, hidden = 2 * channels, MIXER_EXPANSION * channels
        upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.up = nn.Sequential(upsample, conv_bn_relu(in_channels, channels, kernel_size=3))
        self.fuse = nn.Sequential(
            gelu_bn(nn.Conv2d(both, both, kernel_size=3, padding=1, groups=2)),
            gelu_bn(nn.Conv2d(both, hidden, kernel_size=1)),
            gelu_bn(nn.Conv2d(hidden, channels, kernel_size=1)),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        out: Tensor = self.fuse(torch.cat([skip, self.up(x)], dim=1))
        return out


class CMUNeXt(nn.Module):
    """The network of given widths, depths and kernel sizes, one of each a stage."""

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        kernel_sizes: Sequence[int],
        in_channels: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        widths = list_of_positive("model.widths", widths, STAGES)
        depths = list_of_positive("model.depths", depths, STAGES)
        kernel_sizes = list_of_positive("model.kernel_sizes", kernel_sizes, STAGES)
        self.stem = conv_bn_relu(in_channels, widths[0], kernel_size=3)
        ins = [widths[0], *widths[:-1]]
        stages = zip(widths, ins, kernel_sizes, depths, strict=True)
        self.encoder = nn.ModuleList([CMUNeXtBlock(*stage, prcm=nn.Identity) for stage in stages])
        self.pool = nn.MaxPool2d(2)
        steps = zip(widths[-2::-1], widths[:0:-1], strict=True)
        self.decoder = nn.ModuleList([UpStep(channels, in_channels) for channels, in_channels in steps])
        self.head = nn.Conv2d(widths[0], positive_int("model.num_classes", num_classes), kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        multiple_of(STRIDE, x.shape[2:])
        x = self.encoder[0](self.stem(x))
        skips: list[Tensor] = []
        for stage in self.encoder[1:]:
            skips.append(x)
            x = stage(self.pool(x))
        for step in self.decoder:
            x = step(x, skips.pop())
        out: Tensor = self.head(x)
        return out
