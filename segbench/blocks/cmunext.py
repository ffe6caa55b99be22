"""CMUNeXt block: `depth` large-kernel mixers at the input width, then a 3 x 3 convolution to the output width.

(N, C_in, H, W) -> (N, C, H, W). A mixer is x + BN(GELU(depthwise k x k)) -> conv1x1 C_in -> 4 C_in -> GELU -> BN
-> conv1x1 4 C_in -> C_in -> GELU -> BN, every convolution with bias. Source: CMUNeXt (Tang et al. 2023).
"""

from torch import Tensor, nn

from segbench.base.checks import odd_int, positive_int
from segbench.blocks.conv_stem import conv_bn_relu
from segbench.prcm import PRCMFactory

MIXER_EXPANSION = 4


def gelu_bn(conv: nn.Conv2d) -> nn.Sequential:
    """Convolution -> GELU -> batch norm."""
    return nn.Sequential(conv, nn.GELU(), nn.BatchNorm2d(conv.out_channels))


class Mixer(nn.Module):
    """Depthwise mixing with a shortcut, then an inverted bottleneck of 1 x 1 convolutions."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        padding = odd_int("kernel_size", kernel_size) // 2
        hidden = MIXER_EXPANSION * channels
        self.spatial = gelu_bn(nn.Conv2d(channels, channels, kernel_size, padding=padding, groups=channels))
        self.expand = gelu_bn(nn.Conv2d(channels, hidden, kernel_size=1))
        self.reduce = gelu_bn(nn.Conv2d(hidden, channels, kernel_size=1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.reduce(self.expand(x + self.spatial(x)))
        return out


class CMUNeXtBlock(nn.Module):
    """`depth` mixers, the 3 x 3 convolution that sets the width, and the PRCM (none by default)."""

    def __init__(self, channels: int, in_channels: int, kernel_size: int, depth: int, prcm: PRCMFactory) -> None:
        super().__init__()
        positive_int("in_channels", in_channels)
        mixers = [Mixer(in_channels, kernel_size) for _ in range(positive_int("depth", depth))]
        self.mixers = nn.Sequential(*mixers)
        self.widen = conv_bn_relu(in_channels, channels, kernel_size=3)
        self.prcm = prcm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.prcm(self.widen(self.mixers(x)))
        return out
