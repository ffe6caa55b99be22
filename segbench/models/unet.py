"""decoder=unet: maps at strides 2 to 32 -> (N, num_classes, about H, about W).

Four steps from the deepest map: transposed conv 2 x 2, stride 2, with bias -> resize to the skip where the sizes differ
-> concatenate [up, skip] -> twice (conv 3 x 3 without bias -> BN -> ReLU). Widths (256, 128, 64, 32), each at most M,
M/2, M/4, M/8 with M the widest map. Then a transposed conv 2 x 2 and a 1 x 1 convolution with bias.
Source: the encoder benchmark, after U-Net (Ronneberger et al. 2015).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from segbench.base.checks import list_of_positive


class UpStep(nn.Module):
    """(N, in_channels, H, W) and a skip of about twice its size -> (N, width, the skip's size)."""

    def __init__(self, in_channels: int, skip_channels: int, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, width, kernel_size=2, stride=2)
        self.convs = nn.Sequential(
            *_conv_bn_relu(width + skip_channels, width),
            *_conv_bn_relu(width, width),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        up = self.up(x)
        if up.shape[2:] != skip.shape[2:]:
            up = functional.interpolate(up, size=skip.shape[2:], mode="bilinear", align_corners=False)
        out: Tensor = self.convs(torch.cat([up, skip], dim=1))
        return out


class UNetDecoder(nn.Module):
    """Four steps up through the skips, and one more without."""

    def __init__(self, channels: Sequence[int], num_classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        skips = list(channels[-2::-1])
        widths = list_of_positive("decoder.head.widths", widths, len(skips))
        widest = max(channels)
        limited = [min(width, widest // 2**step) for step, width in enumerate(widths)]
        ins = [channels[-1], *limited[:-1]]
        self.steps = nn.ModuleList([UpStep(*step) for step in zip(ins, skips, limited, strict=True)])
        self.up = nn.ConvTranspose2d(limited[-1], limited[-1], kernel_size=2, stride=2)
        self.head = nn.Conv2d(limited[-1], num_classes, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        x = maps[-1]
        for step, skip in zip(self.steps, maps[-2::-1], strict=True):
            x = step(x, skip)
        out: Tensor = self.head(self.up(x))
        return out


def _conv_bn_relu(in_channels: int, channels: int) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, channels, kernel_size=3, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(channels), nn.ReLU()]
