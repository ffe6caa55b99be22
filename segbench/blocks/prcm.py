"""block=prcm: the chosen PRCM variant by itself. (N, C, H, W) -> (N, C, H, W)."""

from torch import nn

from segbench.base.checks import equal_width
from segbench.prcm import PRCMFactory


def prcm_alone(channels: int, in_channels: int, prcm: PRCMFactory) -> nn.Module:
    """Build the PRCM variant for `channels` channels."""
    equal_width("block=prcm", channels, in_channels)
    return prcm(channels)
