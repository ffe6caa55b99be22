"""Latency of a step, sample by sample."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from segbench.checks import natural_int, positive_int
from segbench.measure.statistics import FEWEST_SAMPLES

Samples = dict[str, list[float]]
"""Raw samples in milliseconds, by the name of their clock."""
Clock = Callable[[Callable[[], Any]], tuple[float, ...]]


def host_clock(step: Callable[[], Any]) -> tuple[float]:
    """Wall time of one call in milliseconds."""
    start = time.perf_counter_ns()
    step()
    return ((time.perf_counter_ns() - start) / 1e6,)


def cuda_clock(step: Callable[[], Any]) -> tuple[float, float]:
    """Device time between two events, and wall time including synchronisation, of one call in milliseconds."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start = time.perf_counter_ns()
    begin.record()
    step()
    end.record()
    torch.cuda.synchronize()
    wall = (time.perf_counter_ns() - start) / 1e6
    return float(begin.elapsed_time(end)), wall


def synchronised_clock(step: Callable[[], Any]) -> tuple[float]:
    """Wall time of one call including synchronisation, for accelerators other than CUDA."""
    torch.accelerator.synchronize()
    start = time.perf_counter_ns()
    step()
    torch.accelerator.synchronize()
    return ((time.perf_counter_ns() - start) / 1e6,)


def clock_for(device: torch.device) -> tuple[Clock, tuple[str, ...]]:
    """The clock of a device and the names of the series it gives; `latency_ms` is the headline."""
    if device.type == "cpu":
        return host_clock, ("latency_ms",)
    if device.type == "cuda":
        return cuda_clock, ("latency_ms", "latency_wall_ms")
    return synchronised_clock, ("latency_ms",)


def check_counts(warmup_calls: int, timed_calls: int) -> None:
    """Raise `ValueError` for counts that are none or that give no interval."""
    natural_int("timing.warmup_calls", warmup_calls)
    if positive_int("timing.timed_calls", timed_calls) < FEWEST_SAMPLES:
        raise ValueError(f"timing.timed_calls={timed_calls} is not allowed: an interval needs {FEWEST_SAMPLES} or more")


def fixed_protocol(step: Callable[[], Any], device: torch.device, warmup_calls: int, timed_calls: int) -> Samples:
    """Call `step` `warmup_calls` times untimed, then `timed_calls` times, each timed by itself.

    The counts have passed `check_counts`.
    """
    clock, names = clock_for(device)
    for _ in range(warmup_calls):
        step()
    times = [clock(step) for _ in range(timed_calls)]
    return {name: list(series) for name, series in zip(names, zip(*times, strict=True), strict=True)}
