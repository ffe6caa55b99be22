"""How long the parts of a module take, on the inputs they get inside it, as shares of the whole."""

import copy
import random
import time
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn

from segbench.measure.result import Row
from segbench.measure.session import Session
from segbench.measure.statistics import FEWEST_SAMPLES, ratio_interval, undisturbed_ms

Step = Callable[[], Any]
BATCH_S = 0.05


def part_latencies(
    step: Step, parts: dict[str, nn.Module], budget_s: float, device: torch.device, seed: int
) -> list[Row]:
    """Time `parts` of a module and its whole step side by side, for about `budget_s` seconds.

    A row says how often one step calls the part, what all its calls take, and their share of the whole step's latency.
    Every part is called alone, on the inputs that it gets in the step. Parts that work together can be faster or slower
    than alone (caches, fused kernels), so the shares need not add up to 1.
    """
    calls = _inputs_of(parts, step)
    called = [path for path in parts if calls[path]]
    if not called:
        return []
    steps = [step, *(_repeated(parts[path], calls[path]) for path in called)]
    session = Session(steps, device, random.Random(seed))
    _, round_s = session.calibrate()
    deadline, batch = time.monotonic() + budget_s, 0
    while time.monotonic() < deadline or batch < FEWEST_SAMPLES:
        stop = time.monotonic() + min(BATCH_S, budget_s / FEWEST_SAMPLES)
        session.round(batch)
        while time.monotonic() + round_s < stop:
            session.round(batch)
        batch += 1
    whole, *others = session.headlines()
    rows = []
    for path, series in zip(called, others, strict=True):
        share = ratio_interval(series, whole, session.batches)
        row = {"path": path, "module_type": type(parts[path]).__name__, "calls": len(calls[path])}
        row |= {"latency_ms": undisturbed_ms(series), "share": share.middle}
        rows.append(row | {"share_ci95_low": share.low, "share_ci95_high": share.high})
    return rows


def parts_at(module: nn.Module, depth: int, called: Collection[str]) -> dict[str, nn.Module]:
    """Modules that a step calls, at most `depth` below `module`, by their paths.

    `called` names the modules that were called. What was not called itself (lists, modules of which only a part is
    used) is no level, and neither is a module that everything passes through: its only child.
    """
    found: dict[str, nn.Module] = {}

    def visit(parent: nn.Module, path: str, left: int) -> None:
        children = [(f"{path}.{name}" if path else name, child) for name, child in parent.named_children()]
        only = len(children) == 1
        for inner, child in children:
            has_children = next(child.children(), None) is not None
            if inner not in called or (only and has_children):
                visit(child, inner, left)
            elif left > 1 and has_children:
                visit(child, inner, left - 1)
            else:
                found[inner] = child

    visit(module, "", depth)
    return found


def _inputs_of(parts: dict[str, nn.Module], step: Step) -> dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """The arguments of every call of every part in one step."""
    calls: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {path: [] for path in parts}

    def keep(path: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        return lambda _, args, kwargs: calls[path].append(copy.deepcopy((args, kwargs)))

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
