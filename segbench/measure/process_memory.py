"""Peak resident memory of the process over one step. Linux only: the kernel's own high-water mark."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"


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
