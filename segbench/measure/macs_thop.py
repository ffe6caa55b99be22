"""MACs as the notebooks count them: by the package thop."""

from __future__ import annotations

import copy

import thop
from torch import Tensor, nn


def macs_thop(module: nn.Module, x: Tensor) -> float:
    """Multiply-accumulates of one eval-mode forward pass by `thop.profile`, on a copy of `module`.

    thop sees modules, not operators: nothing is counted for functional calls, GroupNorm, GELU, pooling by
    mean, sigmoid or resizing, and 4 per element for an affine batch norm. It is kept because the published
    tables use it.
    """
    macs, _ = thop.profile(copy.deepcopy(module), inputs=(x,), verbose=False)
    return float(macs)
