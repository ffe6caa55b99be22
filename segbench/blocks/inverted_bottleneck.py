"""Inverted bottleneck with a large depthwise kernel. (N, C, H, W) -> (N, C, H, W).

Depthwise k x k -> BN -> ReLU -> conv1x1 C -> rC -> BN -> ReLU -> channel dropout -> conv1x1 rC -> C -> BN
[+ the input] -> PRCM (none by default). Source: the PRCM expansion notebook's conventional baseline, after
MobileNetV2 (Sandler et al. 2018) with the depthwise convolution moved to the front.
"""

from torch import Tensor, nn

from segbench.base.checks import equal_width, odd_int, positive_int, probability
from segbench.blocks.conv import conv1x1
from segbench.prcm import PRCMFactory


class InvertedBottleneck(nn.Module):
    """Depthwise convolution, then a channel expansion by `expansion` and back; `residual` adds the input."""

    def __init__(
        self,
        channels: int,
        in_channels: int,
        kernel_size: int,
        expansion: int,
        dropout: float,
        residual: bool,
        prcm: PRCMFactory,
    ) -> None:
        super().__init__()
        equal_width("block=inverted_bottleneck", channels, in_channels)
        hidden = channels * positive_int("expansion", expansion)
        padding = odd_int("kernel_size", kernel_size) // 2
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size, padding=padding, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            conv1x1(channels, hidden),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Dropout2d(probability("dropout", dropout)),
            conv1x1(hidden, channels),
            nn.BatchNorm2d(channels),
        )
        self.residual = residual
        self.prcm = prcm(channels)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.body(x)
        out: Tensor = self.prcm(x + mixed if self.residual else mixed)
        return out
