"""Networks around a block, and networks that need none.

They know torch, blocks, prcm, and the checks and errors of base.
"""

from collections.abc import Callable
from typing import TypeAlias

from torch import nn

BlockFactory: TypeAlias = Callable[..., nn.Module]
"""Builds a block by `block(channels=..., in_channels=...)`."""
