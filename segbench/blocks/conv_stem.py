"""Convolution stem: conv k x k with bias -> BN -> ReLU -> PRCM (none by default). (N, C_in, H, W) -> (N, C, H, W).

Source: CMUNeXt (Tang et al. 2023), whose first layer and whose blocks' last layer it is.
"""

from torch import nn

from segbench.base.checks import odd_int, positive_int
from segbench.prcm import PRCMFactory


def conv_bn_relu(in_channels: int, channels: int, kernel_size: int) -> nn.Sequential:
    """Convolution with bias -> batch norm -> ReLU; the size stays."""
    padding = odd_int("kernel_size", kernel_size) // 2
    positive_int("in_channels", in_channels)
    positive_int("channels", channels)
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel_size, padding=padding), nn.BatchNorm2d(channels), nn.ReLU()
    )


def conv_stem(channels: int, in_channels: int, kernel_size: int, prcm: PRCMFactory) -> nn.Sequential:
    """block=conv_stem."""
    return nn.Sequential(conv_bn_relu(in_channels, channels, kernel_size), prcm(channels))
