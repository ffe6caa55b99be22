"""FLOPs by PyTorch's own counter."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@contextmanager
def fused_attention_taken_apart() -> Iterator[None]:
    """Keep PyTorch's attention modules from the fused kernels of inference, which no counter sees into."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def flops_torch(module: nn.Module, x: Tensor) -> int:
    """FLOPs of one forward pass by `FlopCounterMode`.

    2 per multiply-accumulate of convolutions, matrix products and attention; nothing for other operators.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad(), fused_attention_taken_apart():
        module(x.clone())
    return int(counter.get_total_flops())
