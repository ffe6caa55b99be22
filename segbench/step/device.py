"""device=cpu, device=cuda, ...: where a point runs, on how many threads, and how its process keeps memory."""

import atexit
import ctypes
import gc
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import psutil
import torch

from segbench.base.checks import boolean, natural_int, one_of, positive_int
from segbench.base.errors import NotAllowedError, UnsupportedError

MEMORY_FORMATS = ("contiguous", "channels_last")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20
CALLS_THAT_LOAD_LIBRARIES = 2
_STARTED_ON = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


@dataclass(frozen=True)
class Device:
    """The settings of `device`; what only an accelerator has, has a default.

    `threads=None` takes the physical cores that this process may use, or the processors of `affinity`.
    """

    type: str
    threads: int | None
    affinity: list[int] | None
    flush_denormal: bool
    keep_memory: bool
    memory_format: str
    index: int = 0
    cudnn_benchmark: bool = False
    cudnn_deterministic: bool = False

    def __post_init__(self) -> None:
        one_of("memory_format", self.memory_format, MEMORY_FORMATS)
        for name in ("flush_denormal", "keep_memory", "cudnn_benchmark", "cudnn_deterministic"):
            boolean(f"device.{name}", getattr(self, name))
        if self.threads is not None:
            positive_int("device.threads", self.threads)
        natural_int("device.index", self.index)
        if self.affinity is not None:
            _check_processors(self.affinity)

    @property
    def torch_device(self) -> torch.device:
        """The device as PyTorch names it."""
        return torch.device("cpu") if self.type == "cpu" else torch.device(self.type, self.index)

    @property
    def labels(self) -> list[str]:
        """What the point computes on, as other processes know it: the processors, and the accelerator."""
        processors = usable_processors() if self.affinity is None else sorted(self.affinity)
        return [f"cpu{number}" for number in processors] + ([self.type] if self.type != "cpu" else [])

    def apply(self) -> None:
        """Set everything for this process; `UnsupportedError` where the machine or the process cannot serve it.

        The accelerator's pool is emptied of what earlier points left. For the processor no accelerator is asked
        anything: that would open a context on it.
        """
        self._require()
        if self.keep_memory:
            keep_freed_memory()
        elif keep_freed_memory.cache_info().currsize and keep_freed_memory():  # called before, and it worked
            raise UnsupportedError(
                "device.keep_memory=false cannot follow a point with true in the same process, because the C library "
                "does not take it back: use isolation=process, or one command for each"
            )
        pin_to(self.affinity)
        cores = physical_cores() if self.affinity is None else len(self.affinity)
        torch.set_num_threads(cores if self.threads is None else self.threads)
        if not torch.set_flush_denormal(self.flush_denormal) and self.flush_denormal:
            raise UnsupportedError("device.flush_denormal=true is not supported by this processor: use false")
        torch.backends.cudnn.benchmark = self.cudnn_benchmark
        torch.backends.cudnn.deterministic = self.cudnn_deterministic
        if self.type != "cpu":
            torch.accelerator.set_device_index(self.index)
            torch.accelerator.memory.empty_cache()
            torch.accelerator.memory.reset_peak_memory_stats()

    def _require(self) -> None:
        """Raise `UnsupportedError` where the machine does not have the device."""
        if self.type == "cpu":
            return
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        available = ["cpu"] + ([accelerator.type] if accelerator else [])
        if self.type not in available:
            raise UnsupportedError(
                f"device={self.type} is not available here: PyTorch {torch.__version__} sees {', '.join(available)}"
            )
        count = torch.accelerator.device_count()
        if self.index >= count:
            raise UnsupportedError(
                f"device.index={self.index} is not there: this machine has {self.type} devices 0 to {count - 1}"
            )


def usable_processors() -> list[int]:
    """The processors that this process was started on."""
    return sorted(_STARTED_ON)


def physical_cores() -> int:
    """Physical cores that this process may use, at least 1."""
    usable = len(_STARTED_ON)
    return max(1, min(usable, _cores_of_the_machine() or usable))


@lru_cache(maxsize=1)
def _cores_of_the_machine() -> int | None:
    return psutil.cpu_count(logical=False)


def _check_processors(processors: Sequence[int]) -> None:
    name = "device.affinity"
    if not isinstance(processors, list | tuple) or len(set(processors)) != len(processors):
        raise NotAllowedError(name, processors, "it must be a list of different processors, like [0,1]")
    chosen = {natural_int(name, processor) for processor in processors}
    if not chosen or not chosen <= _STARTED_ON:
        raise NotAllowedError(name, list(processors), f"choose among the processors {usable_processors()}")


def pin_to(processors: Sequence[int] | None) -> None:
    """Keep every thread of this process on `processors`; `None` gives back those it was started on."""
    chosen = _STARTED_ON if processors is None else set(processors)
    if hasattr(os, "sched_setaffinity") and os.sched_getaffinity(0) != chosen:
        for thread in psutil.Process().threads():
            os.sched_setaffinity(thread.id, chosen)


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


def forget_earlier_points() -> None:
    """Reset what an earlier point of this process may have left: modules and compiled code; see `Device.apply`."""
    _collect_garbage()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
        sys.modules["torch._dynamo"].utils.counters.clear()


def _collect_garbage() -> None:
    """Free modules in reference cycles.

    The collector looks at every object, a quarter of a second long once PyTorch's compiler is loaded. What the first
    points have loaded stays anyway: it is taken out of the collector's sight, and later calls take a few milliseconds.
    """
    global _collections  # how often is a fact of the process
    gc.collect()
    if _collections < CALLS_THAT_LOAD_LIBRARIES:
        gc.freeze()
        atexit.register(gc.unfreeze)
    _collections += 1


_collections = 0


def synchronise(device: torch.device) -> None:
    """Wait for an accelerator."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on an accelerator or on the host.

    PyTorch's allocator for the host raises a bare `RuntimeError`: its text is all that tells.
    """
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
