"""FastSTMBlock: transform half the channels, then mix all of them. (N, C_in, H, W) -> (N, C, H, W).

[conv1x1 -> BN -> ReLU where the widths differ] -> the first C // 2 channels are active (depthwise
RepConv -> PRCM), the rest stay untouched -> concatenate [active, passive] -> conv1x1 -> BN -> ReLU.
Source: the FastSTM notebook.
"""

import torch
from torch import Tensor, nn

from segbench.base.checks import positive_int
from segbench.base.errors import NotAllowedError
from segbench.blocks.conv import conv1x1_bn_relu
from segbench.blocks.deploy import Deployable
from segbench.blocks.repconv import depthwise_repconv
from segbench.prcm import PRCMFactory


class FastSTMBlock(Deployable):
    """Transform the first half of the channels and mix all of them by a 1 x 1 convolution."""

    def __init__(self, channels: int, in_channels: int, kernel_size: int, prcm: PRCMFactory) -> None:
        super().__init__()
        if positive_int("channels", channels) < 2:
            raise NotAllowedError("channels", channels, "it must be 2 or more, to be split in two")
        self.active_channels = channels // 2
        self.align = conv1x1_bn_relu(in_channels, channels) if in_channels != channels else nn.Identity()
        self.spatial = depthwise_repconv(self.active_channels, kernel_size)
        self.prcm = prcm(self.active_channels)
        self.mix = conv1x1_bn_relu(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.align(x)
        active = self.prcm(self.spatial(x[:, : self.active_channels]))
        out: Tensor = self.mix(torch.cat([active, x[:, self.active_channels :]], dim=1))
        return out
