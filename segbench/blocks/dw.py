"""DWBlock: [conv1x1 where the widths differ] -> depthwise RepConv -> PRCM. (N, C_in, H, W) -> (N, C, H, W).

Source: JeongWonNet_DWBlock_Swap, the notebooks' depthwise block.
"""

from torch import Tensor

from segbench.blocks.conv import adjust1x1
from segbench.blocks.deploy import Deployable
from segbench.blocks.repconv import depthwise_repconv
from segbench.prcm import PRCMFactory


class DWBlock(Deployable):
    """One large-kernel depthwise convolution over all channels, then recalibration."""

    def __init__(self, channels: int, in_channels: int, kernel_size: int, prcm: PRCMFactory) -> None:
        super().__init__()
        self.adjust = adjust1x1(in_channels, channels)
        self.spatial = depthwise_repconv(channels, kernel_size)
        self.prcm = prcm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.prcm(self.spatial(self.adjust(x)))
        return out
