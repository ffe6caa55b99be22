"""How long the parts of a module take, on the inputs they get inside it, as shares of the whole."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from segbench.measure.latency import Session
from segbench.measure.statistics import FEWEST_SAMPLES, RatioInterval, ratio_interval, undisturbed_ms

Step = Callable[[], Any]
BATCH_S = 0.05


@dataclass(frozen=True)
class Component:
    """A part of a module: how often one step calls it, and what all its calls take."""

    path: str
    module_type: str
    calls: int
    latency_ms: float
    share: RatioInterval
    """Of the whole step's latency."""


def component_latencies(
    module: nn.Module, step: Step, depth: int, budget_s: float, device: torch.device, seed: int
) -> list[Component]:
    """Time the parts of `module` at `depth` and the whole step side by side, for about `budget_s` seconds.

    Every part is called alone, on the inputs that it gets in the step. Parts that work together can be faster or slower
    than alone (caches, fused kernels), so the shares need not add up to 1.
    """
    parts = parts_at(module, depth)
    calls = _inputs_of(parts, step)
    called = [path for path in parts if calls[path]]
    if not called:
        return []
    steps = [step, *(_repeated(parts[path], calls[path]) for path in called)]
    session = Session(steps, device, random.Random(seed))
    round_s = session.calibrate()
    deadline, batch = time.monotonic() + budget_s, 0
    while time.monotonic() < deadline or batch < FEWEST_SAMPLES:
        stop = time.monotonic() + min(BATCH_S, budget_s / FEWEST_SAMPLES)
        session.round(batch)
        while time.monotonic() + round_s < stop:
            session.round(batch)
        batch += 1
    whole, *others = session.headlines()
    return [
        Component(
            path,
            type(parts[path]).__name__,
            len(calls[path]),
            undisturbed_ms(series),
            ratio_interval(series, whole, session.batches),
        )
        for path, series in zip(called, others, strict=True)
    ]


def parts_at(module: nn.Module, depth: int) -> dict[str, nn.Module]:
    """Modules at most `depth` below `module`, and those above without children; lists of modules are no level."""
    found: dict[str, nn.Module] = {}

    def visit(parent: nn.Module, path: str, left: int) -> None:
        for name, child in parent.named_children():
            inner = f"{path}.{name}" if path else name
            if isinstance(child, nn.ModuleList | nn.ModuleDict):
                visit(child, inner, left)
            elif left > 1 and next(child.children(), None) is not None:
                visit(child, inner, left - 1)
            else:
                found[inner] = child

    visit(module, "", depth)
    return found


def _inputs_of(parts: dict[str, nn.Module], step: Step) -> dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """The arguments of every call of every part in one step."""
    calls: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {path: [] for path in parts}

    def keep(path: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        return lambda _, args, kwargs: calls[path].append((args, kwargs))

    handles = [part.register_forward_pre_hook(keep(path), with_kwargs=True) for path, part in parts.items()]
    try:
        step()
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _repeated(part: nn.Module, calls: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> Step:
    def run() -> None:
        for args, kwargs in calls:
            part(*args, **kwargs)

    return run
