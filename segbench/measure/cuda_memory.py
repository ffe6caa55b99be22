"""Peak memory of the CUDA allocator over one step."""

from collections.abc import Callable
from typing import Any

import torch


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
