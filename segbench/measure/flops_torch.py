"""FLOPs by PyTorch's own counter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def flops_torch(module: nn.Module, x: Tensor) -> int:
    """FLOPs of one forward pass by `FlopCounterMode`.

    2 per multiply-accumulate of convolutions, matrix products and attention; nothing for other operators.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return int(counter.get_total_flops())
