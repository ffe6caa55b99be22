"""execution=compile and its variants: the module compiled by `torch.compile`."""

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from segbench.base.checks import one_of
from segbench.base.errors import GateError, UnsupportedError, first_line
from segbench.step.device import synchronise
from segbench.step.placed import Execution, Placed, Step, at_other_addresses

NAMES = {"default": "compile", "reduce-overhead": "compile_reduce_overhead", "max-autotune": "compile_max_autotune"}
"""PyTorch's modes, and what they are called here."""


@dataclass(frozen=True)
class Compiled:
    """Compile the module in one of PyTorch's modes, for exactly this input."""

    mode: str

    def __post_init__(self) -> None:
        one_of("execution.mode", self.mode, NAMES)

    def set_up(self, placed: Placed) -> Execution:
        """Compile by a first call. `UnsupportedError` gives the compiler's own reason where it cannot."""
        from torch._dynamo.exc import TorchDynamoException

        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns where there is no CUDA
        name = NAMES[self.mode]
        if self.mode == "reduce-overhead" and placed.input.device.type != "cuda":
            raise UnsupportedError(
                f"execution={name} needs device=cuda: it saves launches there; use execution=compile"
            )
        module = self._compiled(placed.module)
        step = replace(placed, module=module).step()
        before, start = _compilations(), time.perf_counter()
        try:
            step()
        except TorchDynamoException as error:
            raise UnsupportedError(f"execution={name}: {first_line(error)}") from error
        synchronise(placed.input.device)
        facts = {"first_call/seconds": time.perf_counter() - start}
        after = _compilations()
        if not after["first_call/graphs"]:  # counted since the point began: its baseline may use the same code
            raise UnsupportedError(f"execution={name}: nothing of the module could be compiled{_why_broken()}")
        facts |= {fact: after[fact] - before[fact] for fact in after}
        if placed.training:
            return Execution(step, lambda: step, output=step, facts=facts, start_check=_check_for_compilation)
        fresh_step = partial(self._fresh_step, placed, module, copies=self._copies(placed))
        return Execution(step, fresh_step, output=step, facts=facts, start_check=_check_for_compilation)

    def _fresh_step(self, placed: Placed, module: nn.Module, copies: bool) -> Step:
        """The same code on a copy of the input, and of the module where `copies`."""
        with at_other_addresses():
            other = self._compiled(copy.deepcopy(placed.module)) if copies else module
            return replace(placed, module=other, input=placed.input.clone()).step()

    def _copies(self, placed: Placed) -> bool:
        """Whether the module is copied for every batch: it is small, and a copy runs the code that was compiled."""
        if not placed.is_small():
            return False
        check = _check_for_compilation()
        try:
            replace(placed, module=self._compiled(copy.deepcopy(placed.module))).step()()
            check()
        except GateError:
            return False
        return True

    def _compiled(self, module: nn.Module) -> Any:
        return torch.compile(module, mode=self.mode, dynamic=False)


def _counters() -> Any:
    """The compiler's own counters since this point began; importing it takes seconds."""
    from torch._dynamo.utils import counters

    return counters


def _compilations() -> dict[str, float]:
    counters = _counters()
    return {
        "first_call/cache_hits": float(counters["inductor"]["fxgraph_cache_hit"]),
        "first_call/cache_misses": float(counters["inductor"]["fxgraph_cache_miss"]),
        "first_call/graphs": float(counters["stats"]["unique_graphs"]),
        "first_call/graph_breaks": float(sum(counters["graph_break"].values())),
    }


def _why_broken() -> str:
    """The compiler's own reason for its first graph break, as the end of a sentence."""
    reasons = [str(reason).strip().splitlines()[0] for reason in _counters()["graph_break"]]
    return f": {reasons[0]}" if reasons else ""


def _check_for_compilation() -> Callable[[], None]:
    """From now on nothing must be compiled; the result raises `GateError` where something was."""
    frames = _counters()["frames"]["total"]

    def check() -> None:
        if _counters()["frames"]["total"] != frames:
            raise GateError("it was compiled again while it was timed: the samples would mix two programs")

    return check
