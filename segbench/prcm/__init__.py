"""PRCM, channel recalibration: one variant a file, each built as `variant(channels)` by a block.

They know torch, and the checks of base.
"""

from collections.abc import Callable
from typing import TypeAlias

from torch import nn

PRCMFactory: TypeAlias = Callable[[int], nn.Module]
"""Builds a PRCM variant for a number of channels."""
