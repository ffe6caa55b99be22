"""MACs as the notebooks count them: by the package thop."""

import copy
from collections.abc import Iterator
from typing import Any

import thop
from torch import Tensor, nn


def macs_thop(module: nn.Module, x: Tensor) -> float:
    """Multiply-accumulates of one eval-mode forward pass by `thop.profile`, on a copy of `module`.

    thop sees modules, not operators: nothing is counted for functional calls, GroupNorm, GELU, pooling by
    mean, sigmoid or resizing, and 4 per element for an affine batch norm. It is kept because the published
    tables use it.
    """
    macs, _ = thop.profile(copy.deepcopy(module), inputs=(x.clone(),), verbose=False)
    return float(macs)


def macs_thop_by_module(module: nn.Module, x: Tensor) -> dict[str, float]:
    """The same count by the modules that thop has a rule for, by their paths; they add up to `macs_thop`."""
    macs, _, below = thop.profile(copy.deepcopy(module), inputs=(x.clone(),), verbose=False, ret_layer_info=True)
    return dict(_leaves("", below)) or {"": float(macs)}


def _leaves(path: str, below: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, (macs, _, children) in below.items():
        inner = f"{path}.{name}" if path else name
        if children:
            yield from _leaves(inner, children)
        else:
            yield inner, float(macs)
