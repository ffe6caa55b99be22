"""Device, precision and form: from a module and an input to a step that can be measured."""

from __future__ import annotations

import copy
import ctypes
import gc
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, TypeAlias

import psutil
import torch
from torch import Tensor, nn

from segbench.base.checks import boolean, natural_int, one_of, positive_int
from segbench.base.errors import UnsupportedError
from segbench.blocks.deploy import switch_to_deploy
from segbench.step.training import Training, TrainingStep, targets_for

FORMS = ("deploy", "train")
FP32_PRECISIONS = ("ieee", "tf32")
MEMORY_FORMATS = ("contiguous", "channels_last")
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20
TF32_CAPABILITY = (8, 0)
COPIED_BYTES = 64 * 2**20
"""Modules up to this size are copied for every batch of samples."""
LARGEST_GAP_BYTES = 2**16
_STARTED_ON = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
DTYPES = ("float32", "float64", "bfloat16", "float16")
HALVES = ("bfloat16", "float16")
"""What autocast knows."""
Step: TypeAlias = Callable[[], Any]
"""One forward pass on a fixed input; to be called in `torch.inference_mode()`."""


class GateError(RuntimeError):
    """A point whose result must not be timed; the message says why."""


@dataclass(frozen=True)
class Placed:
    """A module and its input in their form, on their device, in their precision: what an execution starts from.

    `autocast` is the type that operators are cast to on the way, `training` what a training step does, with its
    `targets`; `None` without.
    """

    module: nn.Module
    input: Tensor
    autocast: torch.dtype | None = None
    training: Training | None = None
    targets: list[Tensor] = field(default_factory=list)

    def trained(self, training: Training | None) -> Placed:
        """The same in a training step, with targets; itself for `None`."""
        if training is None:
            return self
        return replace(self, training=training, targets=targets_for(self.module, self.input, training.seed))

    def step(self) -> Step:
        """The zero-argument callable: a forward pass, or a training step."""
        if self.training is not None:
            return TrainingStep(self.module, self.input, self.training, self.autocast, self.targets)
        if self.autocast is not None:
            return partial(_under_autocast, self.module, self.input, self.autocast)
        return partial(self.module, self.input)

    def fresh_step(self) -> Step:
        """The same on copies that lie elsewhere in memory; of a large module the input alone is copied."""
        with elsewhere():
            module = copy.deepcopy(self.module) if self.is_small() else self.module
            return replace(self, module=module, input=self.input.clone()).step()

    def is_small(self) -> bool:
        """Whether the module is small enough to be copied for every batch of samples."""
        return int(sum(tensor.nbytes for tensor in self.module.state_dict().values())) <= COPIED_BYTES


@dataclass(frozen=True)
class Execution:
    """A step that can be checked and timed.

    `fresh_step` makes a step for another batch of samples, on copies where they can be had. `output` calls the step and
    gives its result as tensors, where the step itself does not. `facts` are metrics of the first call. `tolerance`
    takes the place of the precision's. `watch` is called before the timing and gives what is called after it, which
    raises `GateError` where something happened in between that makes the samples worthless. `own_threads` says
    that the step computes on threads of its own: those of two pools on the same cores disturb each other for some
    milliseconds after a turn.
    """

    step: Step
    fresh_step: Callable[[], Step]
    output: Callable[[], Any]
    facts: Mapping[str, float] = field(default_factory=dict)
    tolerance: float | None = None
    watch: Callable[[], Callable[[], None]] = lambda: lambda: None
    own_threads: bool = False


@contextmanager
def elsewhere() -> Iterator[None]:
    """What is allocated inside lies at another place than it would have: gaps of random size come before it."""
    gaps = [torch.empty(random.randrange(1, LARGEST_GAP_BYTES), dtype=torch.uint8) for _ in range(2)]
    yield
    del gaps


def synchronise() -> None:
    """Wait for the accelerator, where there is one."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _under_autocast(module: nn.Module, x: Tensor, dtype: torch.dtype) -> Any:
    with torch.autocast(x.device.type, dtype):
        return module(x)


def usable_processors() -> list[int]:
    """The processors that this process was started on."""
    return sorted(_STARTED_ON)


def physical_cores() -> int:
    """Physical cores that this process may use, at least 1."""
    usable = len(_STARTED_ON)
    return max(1, min(usable, psutil.cpu_count(logical=False) or usable))


def open_device(
    type: str,
    threads: int | None,
    affinity: Sequence[int] | None,
    flush_denormal: bool,
    keep_memory: bool,
    memory_format: str,
    index: int = 0,
    cudnn_benchmark: bool = False,
    cudnn_deterministic: bool = False,
) -> torch.device:
    """Apply a device's settings and return it; `UnsupportedError` where the machine does not have it.

    `threads=None` takes the physical cores that this process may use, or the processors of `affinity`.
    """
    one_of("memory_format", memory_format, MEMORY_FORMATS)
    if boolean("device.keep_memory", keep_memory):
        keep_freed_memory()
    pin_to(affinity)
    cores = physical_cores() if affinity is None else len(affinity)
    torch.set_num_threads(cores if threads is None else positive_int("device.threads", threads))
    if not torch.set_flush_denormal(boolean("device.flush_denormal", flush_denormal)) and flush_denormal:
        raise UnsupportedError("device.flush_denormal=true is not supported by this processor: use false")
    torch.backends.cudnn.benchmark = cudnn_benchmark
    torch.backends.cudnn.deterministic = cudnn_deterministic
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


def forget_earlier_points() -> None:
    """Reset what an earlier point of this process may have left: compiled code, and the accelerator's memory pool."""
    gc.collect()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
        sys.modules["torch._dynamo"].utils.counters.clear()
    if torch.accelerator.is_available():
        torch.accelerator.memory.empty_cache()
        torch.accelerator.memory.reset_peak_memory_stats()


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory instead of giving it back to the system; whether it agreed.

    By default glibc unmaps large blocks and trims the heap whenever its end is free. Whether a module's activations
    are served from warm memory or from pages that the kernel must clear first then depends on what else happens to lie
    in the heap: the same block was seen at 0.64 and at 1.9 ms in one process. It cannot be undone within a process.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False  # not glibc
    return bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1)) and bool(mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD))


def pin_to(processors: Sequence[int] | None) -> None:
    """Keep every thread of this process on `processors`; `None` gives back those it was started on."""
    if processors is None:
        chosen = set(_STARTED_ON)
    else:
        if not isinstance(processors, list | tuple) or len(set(processors)) != len(processors):
            raise UnsupportedError(
                f"device.affinity={processors} is not allowed: it must be a list of different processors, like [0,1]"
            )
        chosen = {natural_int("device.affinity", processor) for processor in processors}
        if not chosen or not chosen <= _STARTED_ON:
            raise UnsupportedError(
                f"device.affinity={list(processors)} is not allowed: choose among the processors {usable_processors()}"
            )
    if hasattr(os, "sched_setaffinity") and os.sched_getaffinity(0) != chosen:
        for thread in psutil.Process().threads():
            os.sched_setaffinity(thread.id, chosen)


def set_float32_precision(fp32_precision: str) -> None:
    """Set what float32 convolutions and matrix products are computed in: `ieee` or `tf32`."""
    backends: Any = torch.backends  # newer than its type stubs
    backends.fp32_precision = one_of("precision.fp32_precision", fp32_precision, FP32_PRECISIONS)


def dtype_named(name: str, key: str = "precision.dtype", allowed: Sequence[str] = DTYPES) -> torch.dtype:
    """The floating-point type of a precision, by PyTorch's name for it."""
    dtype: torch.dtype = getattr(torch, one_of(key, name, allowed))
    return dtype


def require_precision(device: torch.device, dtype: torch.dtype, fp32_precision: str) -> None:
    """Raise `UnsupportedError` where a device does not have a precision, or only pretends to."""
    if fp32_precision == "tf32" and device.type != "cuda":
        raise UnsupportedError(f"precision=tf32 is not available on device={device.type}: use device=cuda or fp32")
    if fp32_precision == "tf32" and torch.cuda.get_device_capability(device) < TF32_CAPABILITY:
        raise UnsupportedError(f"precision=tf32 is not available on {torch.cuda.get_device_name(device)}: use fp32")
    if dtype is torch.float16 and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        raise UnsupportedError(
            "float16 is not available on this processor: it has no arithmetic for it; use bf16 or fp32"
        )


def in_form(module: nn.Module, form: str) -> nn.Module:
    """A copy of `module` in eval mode and in the form `train` or `deploy`."""
    chosen = copy.deepcopy(module).eval()
    return switch_to_deploy(chosen) if one_of("form", form, FORMS) == "deploy" else chosen


def place(
    module: nn.Module, x: Tensor, device: torch.device, dtype: torch.dtype, memory_format: str = "contiguous"
) -> Placed:
    """Move a module and its input to where and how they run. `channels_last` concerns 4- and 5-dimensional tensors."""
    module, x = module.to(device=device, dtype=dtype), x.to(device=device, dtype=dtype, copy=True)
    if memory_format == "channels_last" and x.ndim in CHANNELS_LAST:
        layout = CHANNELS_LAST[x.ndim]
        module, x = _channels_last(module, layout), x.contiguous(memory_format=layout)
    return Placed(module, x)


def _channels_last(module: nn.Module, layout: torch.memory_format) -> nn.Module:
    for parameter in module.parameters():
        if parameter.ndim in CHANNELS_LAST and CHANNELS_LAST[parameter.ndim] is layout:
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return module
