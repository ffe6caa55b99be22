"""Clocks: how long a few calls of a step take, in milliseconds per call."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

Step = Callable[[], Any]
Clock = Callable[[Step, int], tuple[float, ...]]
"""Calls a step a number of times and gives the time per call, one value for each series that the clock knows."""


def host_clock(step: Step, calls: int) -> tuple[float]:
    """Wall time."""
    start = time.perf_counter_ns()
    for _ in range(calls):
        step()
    return ((time.perf_counter_ns() - start) / (1e6 * calls),)


def cuda_clock(step: Step, calls: int) -> tuple[float, float]:
    """Device time between two events, and wall time including synchronisation."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start = time.perf_counter_ns()
    begin.record()
    for _ in range(calls):
        step()
    end.record()
    torch.cuda.synchronize()
    wall = (time.perf_counter_ns() - start) / (1e6 * calls)
    return float(begin.elapsed_time(end)) / calls, wall


def synchronised_clock(step: Step, calls: int) -> tuple[float]:
    """Wall time including synchronisation, for accelerators other than CUDA."""
    torch.accelerator.synchronize()
    start = time.perf_counter_ns()
    for _ in range(calls):
        step()
    torch.accelerator.synchronize()
    return ((time.perf_counter_ns() - start) / (1e6 * calls),)


def clock_for(device: torch.device) -> tuple[Clock, tuple[str, ...]]:
    """The clock of a device and the names of the series it gives; `latency_ms` is the headline."""
    if device.type == "cpu":
        return host_clock, ("latency_ms",)
    if device.type == "cuda":
        return cuda_clock, ("latency_ms", "latency_wall_ms")
    return synchronised_clock, ("latency_ms",)


def timer_floor_ms(clock: Clock, calls: int) -> float:
    """What the clock gives for a step that does nothing, in milliseconds per call; median of 51."""
    return statistics.median(clock(_nothing, calls)[0] for _ in range(51))


def _nothing() -> None:
    """An empty step."""
