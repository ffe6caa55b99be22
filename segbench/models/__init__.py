"""Networks around a block, and networks that need none."""

from collections.abc import Callable
from typing import TypeAlias

from torch import nn

BlockFactory: TypeAlias = Callable[..., nn.Module]
"""Builds a block by `block(channels=..., in_channels=...)`."""
