"""model=block: one block by itself. (N, in_channels, H, W) -> (N, channels, H, W)."""

from torch import nn

from segbench.models import BlockFactory


def single_block(block: BlockFactory, channels: int, in_channels: int) -> nn.Module:
    """Build one block of the given widths."""
    return block(channels=channels, in_channels=in_channels)
