"""JeongWonNet's block: [conv1x1 where the widths differ] -> depthwise conv -> GroupNorm -> GELU -> PRCM.

(N, C_in, H, W) -> (N, C, H, W). No bias; the groups of the norm are the largest number up to 4 that divides C.
Source: the JeongWonNet notebook.
"""

from torch import Tensor, nn

from segbench.base.checks import odd_int
from segbench.blocks.conv import adjust1x1
from segbench.prcm import PRCMFactory

MOST_GROUPS = 4


class JeongWonBlock(nn.Module):
    """One small depthwise convolution with a group norm, then recalibration."""

    def __init__(self, channels: int, in_channels: int, kernel_size: int, prcm: PRCMFactory) -> None:
        super().__init__()
        self.adjust = adjust1x1(in_channels, channels)
        padding = odd_int("kernel_size", kernel_size) // 2
        self.spatial = nn.Conv2d(channels, channels, kernel_size, padding=padding, groups=channels, bias=False)
        self.norm = nn.GroupNorm(norm_groups(channels), channels)
        self.activation = nn.GELU()
        self.prcm = prcm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.prcm(self.activation(self.norm(self.spatial(self.adjust(x)))))
        return out


def norm_groups(channels: int) -> int:
    """The largest number of groups up to 4 that divides `channels`."""
    return next(groups for groups in range(MOST_GROUPS, 0, -1) if channels % groups == 0)
