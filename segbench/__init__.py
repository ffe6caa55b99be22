"""segbench: trustworthy comparisons of building blocks for light segmentation networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__version__ = "0.1.0"


def build(overrides: list[str]) -> nn.Module:
    """Build the module that a command line describes: training form, eval mode, on the CPU.

    `build(["block=stm", "channels=64", "prcm.num_basis=4"])` gives what
    `python run.py block=stm channels=64 prcm.num_basis=4` measures, before re-parameterisation.
    Raises `ValueError` with the value and the rule where the overrides cannot be built.
    """
    from segbench.point.task import build as build_from_config

    return build_from_config(overrides)
