"""STMBlock, split-transform-merge: half the channels pass, half are transformed. (N, C_in, H, W) -> (N, C, H, W).

The first half is passive: conv1x1 where the half widths differ, else untouched. The second is active:
conv1x1 where they differ -> depthwise RepConv -> PRCM. Both are concatenated, passive first, and their
channels shuffled in 2 groups. C_in and C must be even. Source: the STM notebook.
"""

import torch
from torch import Tensor

from segbench.base.checks import even_int
from segbench.blocks.channel_shuffle import channel_shuffle
from segbench.blocks.conv import adjust1x1
from segbench.blocks.deploy import Deployable
from segbench.blocks.repconv import depthwise_repconv
from segbench.prcm import PRCMFactory


class STMBlock(Deployable):
    """Transform one half of the channels, keep the other, and shuffle them together."""

    def __init__(self, channels: int, in_channels: int, kernel_size: int, prcm: PRCMFactory) -> None:
        super().__init__()
        half = even_int("channels", channels) // 2
        in_half = even_int("in_channels", in_channels) // 2
        self.adjust_passive = adjust1x1(in_half, half)
        self.adjust_active = adjust1x1(in_half, half)
        self.spatial = depthwise_repconv(half, kernel_size)
        self.prcm = prcm(half)

    def forward(self, x: Tensor) -> Tensor:
        passive, active = x.chunk(2, dim=1)
        passive = self.adjust_passive(passive)
        active = self.prcm(self.spatial(self.adjust_active(active)))
        return channel_shuffle(torch.cat([passive, active], dim=1), groups=2)
