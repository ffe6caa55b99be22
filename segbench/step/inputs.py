"""Seeded input tensors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from segbench.base.checks import natural_int, positive_int
from segbench.base.errors import NotAllowedError


def make_input(shape: Sequence[int], batch_size: int, seed: int) -> Tensor:
    """Standard-normal float32 input of shape (batch_size, *shape), the same for the same seed.

    Raises `NotAllowedError` for a size below 1.
    """
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise NotAllowedError("input.shape", shape, "it must list sizes, like [3,256,256]")
    positive_int("batch_size", batch_size)
    natural_int("seed", seed)
    sizes = [positive_int(f"input.shape[{axis}]", size) for axis, size in enumerate(shape)]
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch_size, *sizes, generator=generator)
