"""The 1 x 1 convolutions that blocks adjust and mix channels with. (N, C_in, H, W) -> (N, C, H, W)."""

from torch import nn

from segbench.base.checks import positive_int


def conv1x1(in_channels: int, channels: int) -> nn.Conv2d:
    """1 x 1 convolution without bias."""
    return nn.Conv2d(
        positive_int("in_channels", in_channels), positive_int("channels", channels), kernel_size=1, bias=False
    )


def conv1x1_bn_relu(in_channels: int, channels: int) -> nn.Sequential:
    """1 x 1 convolution without bias -> batch norm -> ReLU."""
    return nn.Sequential(conv1x1(in_channels, channels), nn.BatchNorm2d(channels), nn.ReLU())


def adjust1x1(in_channels: int, channels: int) -> nn.Module:
    """A 1 x 1 convolution where the widths differ, else the identity."""
    return conv1x1(in_channels, channels) if in_channels != channels else nn.Identity()
