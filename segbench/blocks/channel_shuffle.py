"""Channel shuffle: interleave groups of channels. (N, C, H, W) -> (N, C, H, W).

Channel c of group g moves to position c * groups + g. Source: ShuffleNet (Zhang et al. 2018).
"""

from torch import Tensor


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave `groups` equally wide groups of channels."""
    batch, channels, height, width = x.shape
    return x.view(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)
