"""Evidence that others used the processor while a step was timed."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

SWITCHES_PER_S = 50.0
"""Involuntary context switches a second above which the process was pushed aside."""
STOLEN_SHARE = 0.01
"""Share of the processor time that a hypervisor took."""
LOAD_PER_CORE = 1.25
"""Load average over the machine's cores, this process included."""


@dataclass(frozen=True)
class Usage:
    """Counters of the process and the machine at one moment."""

    clock_s: float
    involuntary_switches: int
    stolen_s: float

    @staticmethod
    def now() -> "Usage":
        """Read the counters."""
        times = psutil.cpu_times()
        stolen = float(getattr(times, "steal", 0.0))
        return Usage(time.perf_counter(), _involuntary_switches(), stolen)


def _involuntary_switches() -> int:
    """Of all threads of this process; of the main one where the system lists no others."""
    count = 0
    for status in Path("/proc/self/task").glob("*/status"):
        with suppress(OSError):  # a thread that has just ended
            lines = status.read_text().splitlines()
            count += sum(int(line.split()[1]) for line in lines if line.startswith("nonvoluntary_ctxt_switches"))
    return count or int(psutil.Process().num_ctx_switches().involuntary)


def evidence(before: Usage, after: Usage) -> dict[str, float]:
    """What happened between two readings: rates and shares, by their names in the record."""
    seconds = max(after.clock_s - before.clock_s, 1e-9)
    cores = os.cpu_count() or 1
    frequency = psutil.cpu_freq()
    found = {"frequency_mhz": float(frequency.current)} if frequency else {}
    return found | {
        "involuntary_switches_per_s": (after.involuntary_switches - before.involuntary_switches) / seconds,
        "stolen_share": (after.stolen_s - before.stolen_s) / (seconds * cores),
        "load_per_core": (os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0) / cores,
    }


def contended(found: dict[str, float]) -> bool:
    """Whether the evidence says that the point did not have the processor for itself, or its GPU its full clock."""
    return (
        found["involuntary_switches_per_s"] > SWITCHES_PER_S
        or found["stolen_share"] > STOLEN_SHARE
        or found["load_per_core"] > LOAD_PER_CORE
        or found.get("gpu_throttled", 0.0) > 0
    )
