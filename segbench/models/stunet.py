"""STU-Net: a 3D residual U-shape. (N, in_channels, D, H, W) -> (N, num_classes, D, H, W).

Six stages of one residual block: conv 3^3 (stride 2 from the second stage on) -> instance norm -> LeakyReLU
-> conv 3^3 -> instance norm, a 1^3 shortcut convolution, add -> LeakyReLU. Five decoder steps: nearest resize x 2
-> conv 1^3 to the skip's width -> concatenate [up, skip] -> residual block -> a 1^3 segmentation head. All convolutions
have a bias. As in the official implementation all five heads run in every mode; the last one's output is returned.
D, H and W must be multiples of 32, the lowest level must hold at least two voxels (instance norm refuses one).
Source: STU-Net (Huang et al. 2023).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from segbench.base.checks import list_of_positive, multiple_of, positive_int, two_voxels

STAGES = 6
STRIDE = 32


class ResidualBlock(nn.Module):
    """(N, in_channels, D, H, W) -> (N, channels, D/stride, H/stride, W/stride)."""

    def __init__(self, channels: int, in_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, channels, kernel_size=3, stride=stride, padding=1)
        self.norm1 = nn.InstanceNorm3d(channels, affine=True)
        self.conv2 = nn.Conv3d(channels, channels, kernel_size=3, padding=1)
        self.norm2 = nn.InstanceNorm3d(channels, affine=True)
        self.shortcut = nn.Conv3d(in_channels, channels, kernel_size=1, stride=stride)
        self.activation = nn.LeakyReLU()

    def forward(self, x: Tensor) -> Tensor:
        body = self.norm2(self.conv2(self.activation(self.norm1(self.conv1(x)))))
        out: Tensor = self.activation(body + self.shortcut(x))
        return out


class STUNet(nn.Module):
    """The network of given widths, one a stage."""

    def __init__(self, widths: Sequence[int], in_channels: int, num_classes: int) -> None:
        super().__init__()
        widths = list_of_positive("model.widths", widths, STAGES)
        ins = [in_channels, *widths[:-1]]
        strides = [1] + [2] * (STAGES - 1)
        self.encoder = nn.ModuleList([ResidualBlock(*stage) for stage in zip(widths, ins, strides, strict=True)])
        skips = widths[-2::-1]
        self.up = nn.ModuleList(
            [nn.Conv3d(deep, skip, kernel_size=1) for deep, skip in zip(widths[:0:-1], skips, strict=True)]
        )
        self.decoder = nn.ModuleList([ResidualBlock(skip, 2 * skip, stride=1) for skip in skips])
        positive_int("model.num_classes", num_classes)
        self.heads = nn.ModuleList([nn.Conv3d(skip, num_classes, kernel_size=1) for skip in skips])

    def forward(self, x: Tensor) -> Tensor:
        multiple_of(STRIDE, x.shape[2:])
        two_voxels(STRIDE, x.shape[2:])
        maps: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            maps.append(x)
        outs: list[Tensor] = []
        for up, block, head, skip in zip(self.up, self.decoder, self.heads, maps[-2::-1], strict=True):
            raised = up(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
            x = block(torch.cat([raised, skip], dim=1))
            outs.append(head(x))
        return outs[-1]
