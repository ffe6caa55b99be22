"""The parts that the blocks are made of, to be measured one by one. Input (N, C, H, W), C even where it is split.

Source: the component breakdown of the block ablation notebook.
"""

import torch
from torch import Tensor, nn

from segbench.base.checks import equal_width, even_int
from segbench.blocks.channel_shuffle import channel_shuffle
from segbench.blocks.conv import conv1x1_bn_relu
from segbench.blocks.deploy import Deployable
from segbench.blocks.repconv import depthwise_repconv


class Component(nn.Module):
    """A part that keeps its width; `halves` says that it needs an even one."""

    def __init__(self, channels: int, in_channels: int, halves: bool = True) -> None:
        super().__init__()
        equal_width("a component", channels, in_channels)
        self.half_width = even_int("channels", channels) // 2 if halves else channels


class RepConvHalf(Deployable):
    """block=repconv_half: depthwise RepConv on the first half of the channels. -> (N, C/2, H, W)."""

    def __init__(self, channels: int, in_channels: int, kernel_size: int) -> None:
        super().__init__()
        equal_width("block=repconv_half", channels, in_channels)
        self.half_width = even_int("channels", channels) // 2
        self.spatial = depthwise_repconv(self.half_width, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.spatial(x[:, : self.half_width])
        return out


class Chunk(Component):
    """block=chunk: two halves by `torch.chunk`, views both. -> two of (N, C/2, H, W)."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.chunk(2, dim=1)


class Slice(Component):
    """block=slice: two halves by slicing, views both. -> two of (N, C/2, H, W)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, : self.half_width], x[:, self.half_width :]


class Concatenate(Component):
    """block=concatenate: both halves put together again. -> (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, : self.half_width], x[:, self.half_width :]], dim=1)


class Shuffle(Component):
    """block=channel_shuffle: channel shuffle in 2 groups. -> (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return channel_shuffle(x, groups=2)


class Mix(Component):
    """block=mix: conv1x1 -> BN -> ReLU over all channels. -> (N, C, H, W)."""

    def __init__(self, channels: int, in_channels: int) -> None:
        super().__init__(channels, in_channels, halves=False)
        self.mix = conv1x1_bn_relu(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.mix(x)
        return out
