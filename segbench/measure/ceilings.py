"""What the machine reaches at best: streaming bandwidth by cache level, and the rate of products.

Measured once for a machine, thread count and precision, and kept in the user's cache folder.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch.nn import functional

from segbench.base.files import write_json
from segbench.measure.clock import clock_for
from segbench.measure.machine import LEVELS, MIB, Machine, cpu_facts

REPETITIONS, SHORTEST_MS = 12, 2.0
STREAMS = 3
"""Arrays of the triad: two read, one written."""
LARGEST_STREAM_BYTES = 1024 * MIB
UNKNOWN_CACHE_BYTES = 32 * MIB
MATRIX, CHANNELS, SIDE, BATCH = 1024, 64, 64, 4


@dataclass(frozen=True)
class Ceilings:
    """Bytes a second that streaming reaches in each level, FLOPs a second of matrix products and of convolutions."""

    bandwidth: dict[str, float]
    matrix_flops: float
    convolution_flops: float

    @property
    def peak_flops(self) -> float:
        """The better of the two rates."""
        return max(self.matrix_flops, self.convolution_flops)

    def attainable_s(self, flops: float, moved_bytes: float, level: str) -> float:
        """Seconds that an operator needs at least: for its arithmetic or for its bytes, whichever is more."""
        return max(flops / self.peak_flops, moved_bytes / self.bandwidth[level])


def ceilings(machine: Machine, device: torch.device, dtype: torch.dtype, remeasure: bool = False) -> Ceilings:
    """The ceilings of the device for a precision, from the cache folder, or measured now where they are not there."""
    path = _path(machine, device, dtype)
    if not remeasure:
        try:
            return Ceilings(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            pass  # not there, or not whole: measure
    found = measure_ceilings(machine, device, dtype)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(asdict(found), path)
    except OSError:
        pass  # a cache that cannot be written costs the next point a second
    return found


def measure_ceilings(machine: Machine, device: torch.device, dtype: torch.dtype) -> Ceilings:
    """Measure now; a second or two."""
    l2 = machine.l2_bytes or MIB
    l3 = machine.l3_bytes or UNKNOWN_CACHE_BYTES
    sizes = {"L2": l2 // 2, "L3": max(l3 // 2, l2), "memory": min(max(4 * l3, 4 * l2), LARGEST_STREAM_BYTES)}
    bandwidth = {level: _stream(sizes[level], device) for level in LEVELS}
    bandwidth["L3"] = max(bandwidth["L3"], bandwidth["memory"])  # a level that cannot be told from a farther one
    bandwidth["L2"] = max(bandwidth["L2"], bandwidth["L3"])  # is as fast as that: starting the threads costs more there
    return Ceilings(bandwidth, _matrix(device, dtype), _convolution(device, dtype))


def _stream(total_bytes: int, device: torch.device) -> float:
    """Bytes a second of c = a + b over arrays of `total_bytes` together."""
    elements = max(1, total_bytes // (STREAMS * 4))
    a, b, c = (torch.ones(elements, device=device) for _ in range(STREAMS))
    return STREAMS * 4 * elements / _best_s(lambda: torch.add(a, b, out=c), device)


def _matrix(device: torch.device, dtype: torch.dtype) -> float:
    a, b = (torch.ones(MATRIX, MATRIX, device=device, dtype=dtype) for _ in range(2))
    return 2 * MATRIX**3 / _best_s(lambda: a @ b, device)


def _convolution(device: torch.device, dtype: torch.dtype) -> float:
    x = torch.ones(BATCH, CHANNELS, SIDE, SIDE, device=device, dtype=dtype)
    weight = torch.ones(CHANNELS, CHANNELS, 3, 3, device=device, dtype=dtype)
    flops = 2 * BATCH * CHANNELS**2 * SIDE**2 * 9
    return flops / _best_s(lambda: functional.conv2d(x, weight, padding=1), device)


def _best_s(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds of the fastest of some calls: a ceiling is what is reached undisturbed."""
    clock, _ = clock_for(device)
    with torch.inference_mode():
        call()
        once = clock(call, 1)[0]
        calls = max(1, round(SHORTEST_MS / max(once, 1e-4)))
        return min(clock(call, calls)[0] for _ in range(REPETITIONS)) / 1000


def _path(machine: Machine, device: torch.device, dtype: torch.dtype) -> Path:
    """One file for everything that the ceilings depend on."""
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_facts().get("brand_raw")
    backends: Any = torch.backends  # newer than its type stubs
    identity = [
        asdict(machine),
        name,
        os.uname().nodename if hasattr(os, "uname") else None,
        torch.__version__,
        torch.get_num_threads(),
        affinity,
        str(dtype),
        backends.fp32_precision,
    ]
    digest = hashlib.sha256(json.dumps(identity, default=str).encode()).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("segbench")) / f"ceilings-{digest}.json"
