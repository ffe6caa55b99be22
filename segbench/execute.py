"""Device, precision and form: from a module and an input to a step that can be measured."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from segbench.checks import UnsupportedError, natural_int, one_of, positive_int
from segbench.deploy import switch_to_deploy

FORMS = ("deploy", "train")
FP32_PRECISIONS = ("ieee", "tf32")
DTYPES = ("float32", "float64", "bfloat16", "float16")
Step = Callable[[], Any]
"""One forward pass on a fixed input; to be called in `torch.inference_mode()`."""


@dataclass(frozen=True)
class Execution:
    """A module and its input as they are measured: in their form, on their device, in their precision."""

    module: nn.Module
    input: Tensor

    @property
    def step(self) -> Step:
        """The zero-argument callable that is checked, traced and timed."""
        return partial(self.module, self.input)


def physical_cores() -> int:
    """Physical cores that this process may use, at least 1."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, psutil.cpu_count(logical=False) or usable))


def open_device(type: str, threads: int | None = None, index: int = 0) -> torch.device:
    """Apply the thread count and return the device; `UnsupportedError` where the machine does not have it.

    `threads=None` takes the physical cores that this process may use.
    """
    torch.set_num_threads(physical_cores() if threads is None else positive_int("device.threads", threads))
    if type == "cpu":
        return torch.device("cpu")
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    available = ["cpu"] + ([accelerator.type] if accelerator else [])
    if type not in available:
        raise UnsupportedError(
            f"device={type} is not available here: PyTorch {torch.__version__} sees {', '.join(available)}"
        )
    count = torch.accelerator.device_count()
    if natural_int("device.index", index) >= count:
        raise UnsupportedError(f"device.index={index} is not there: this machine has {type} devices 0 to {count - 1}")
    torch.accelerator.set_device_index(index)
    return torch.device(type, index)


def set_float32_precision(fp32_precision: str) -> None:
    """Set what float32 convolutions and matrix products are computed in: `ieee` or `tf32`."""
    backends: Any = torch.backends  # newer than its type stubs
    backends.fp32_precision = one_of("precision.fp32_precision", fp32_precision, FP32_PRECISIONS)


def dtype_named(name: str) -> torch.dtype:
    """The floating-point type of a precision, by PyTorch's name for it."""
    dtype: torch.dtype = getattr(torch, one_of("precision.dtype", name, DTYPES))
    return dtype


def in_form(module: nn.Module, form: str) -> nn.Module:
    """A copy of `module` in eval mode and in the form `train` or `deploy`."""
    chosen = copy.deepcopy(module).eval()
    return switch_to_deploy(chosen) if one_of("form", form, FORMS) == "deploy" else chosen


def place(module: nn.Module, x: Tensor, device: torch.device, dtype: torch.dtype) -> Execution:
    """Move a module and its input to where and how they run."""
    return Execution(module.to(device=device, dtype=dtype), x.to(device=device, dtype=dtype))
