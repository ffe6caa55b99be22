"""Peak memory over one step: of the CUDA allocator, and of the process as the Linux kernel keeps it."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"


def cuda_peak_bytes(step: Callable[[], Any]) -> dict[str, float]:
    """Allocator peaks of one call of `step`, in bytes, by their names in the record.

    `cuda_peak_allocated` is what the step needed on top of what was there before it (module and input),
    which `cuda_resident` gives; `cuda_peak_reserved` is the allocator's whole pool at its largest.
    """
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    resident = torch.cuda.memory_allocated()
    result = step()
    torch.cuda.synchronize()
    peak, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    del result
    return {
        "memory_bytes/cuda_peak_allocated": float(peak - resident),
        "memory_bytes/cuda_peak_reserved": float(reserved),
        "memory_bytes/cuda_resident": float(resident),
    }


def peak_rss_delta_bytes(step: Callable[[], Any]) -> dict[str, float]:
    """What one call of `step` adds to the resident memory at most, in bytes; empty where the system does not tell.

    Freed memory is first given back to the system, so that the step has to ask for all that it needs, and the kernel's
    high-water mark is reset. Pages are counted, of this process alone: libraries and threads included.
    """
    step()  # what only a first call allocates is not the step's
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        before = _status_bytes("VmRSS")
        CLEAR.write_text(RESET_PEAK)
        result = step()
        peak = _status_bytes("VmHWM")
    except (OSError, AttributeError, TypeError):
        return {}
    del result
    return {"memory_bytes/peak_rss_delta": float(max(0, peak - before))}


def _status_bytes(name: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"{STATUS} has no {name}")
