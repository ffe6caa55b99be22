"""The reference numbers of the original implementations, and the rule that makes weights and inputs comparable."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

REFERENCE = Path(__file__).parent / "reference"
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)


@dataclass(frozen=True)
class Case:
    """One golden case: the overrides that build it and what the original gave."""

    name: str
    overrides: list[str]
    input: list[int]
    params: int
    out: dict[str, Any]
    thop_macs: float | None = None
    flop_counter: int | None = None
    count_input: list[int] | None = None
    deploy: dict[str, Any] | None = None


def golden_cases() -> list[Case]:
    """All cases of golden.json."""
    return [Case(**case) for case in json.loads((REFERENCE / "golden.json").read_text())["cases"]]


def tables() -> dict[str, Any]:
    """The published tables."""
    found: dict[str, Any] = json.loads((REFERENCE / "tables.json").read_text())
    return found


def hashed(n: int) -> NDArray[np.float64]:
    """n reproducible values in [-1, 1), from an integer hash of the index and n."""
    h = (np.arange(1, n + 1, dtype=np.uint64) * 0x9E3779B1 + n * 0x85EBCA77) & 0xFFFFFFFF
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        h ^= h >> np.uint64(shift)
        h = (h * factor) & 0xFFFFFFFF
    h ^= h >> np.uint64(16)
    return 2 * h.astype(np.float64) / 2**32 - 1


@torch.no_grad()
def fill(module: nn.Module) -> nn.Module:
    """Give every parameter and statistic of `module` (float64) its hashed value, in place."""
    for part in module.modules():
        own = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        for name, tensor in own:
            if tensor.is_floating_point():
                values = torch.from_numpy(_scaled(name, tensor, isinstance(part, NORMS)))
                tensor.copy_(values.reshape(tensor.shape))
    return module


def _scaled(name: str, tensor: Tensor, is_norm: bool) -> NDArray[np.float64]:
    values = hashed(tensor.numel())
    if name == "running_var":
        return 1 + 0.5 * values
    if tensor.ndim >= 2:
        return values * float(np.sqrt(6 / (tensor.numel() / tensor.shape[0])))
    return 1 + 0.1 * values if is_norm and name == "weight" else 0.1 * values


def golden_input(shape: list[int]) -> Tensor:
    """The input of the golden cases, in float64."""
    i = np.arange(1, int(np.prod(shape)) + 1)
    values = (np.sin(0.05 * i) + 0.5 * np.cos(0.013 * i)).astype(np.float32)
    return torch.from_numpy(values.astype(np.float64)).reshape(shape)


def statistics(out: Tensor) -> dict[str, Any]:
    """What the golden cases keep of an output."""
    flat = out.detach().flatten().numpy()
    return {
        "shape": list(out.shape),
        "mean": flat.mean(),
        "std": flat.std(),
        "min": flat.min(),
        "max": flat.max(),
        "first8": flat[:8].tolist(),
        "dot": float((flat * np.sin(0.01 * np.arange(flat.size))).sum()),
    }
