"""execution=compile and its variants: the module compiled by `torch.compile`."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from segbench.base.checks import one_of
from segbench.base.errors import UnsupportedError
from segbench.step.placed import Execution, GateError, Placed, Step, elsewhere, synchronise

NAMES = {
    "default": "compile",
    "reduce-overhead": "compile_reduce_overhead",
    "max-autotune": "compile_max_autotune",
}
"""PyTorch's modes, and what they are called here."""


@dataclass(frozen=True)
class Compiled:
    """Compile the module in one of PyTorch's modes, for exactly this input."""

    mode: str

    def __post_init__(self) -> None:
        one_of("execution.mode", self.mode, NAMES)

    def prepare(self, placed: Placed) -> Execution:
        """Compile by a first call. `UnsupportedError` gives the compiler's own reason where it cannot."""
        from torch._dynamo.exc import TorchDynamoException

        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no CUDA is no news
        name = NAMES[self.mode]
        if self.mode == "reduce-overhead" and placed.input.device.type != "cuda":
            raise UnsupportedError(
                f"execution={name} needs device=cuda: it saves launches there; use execution=compile"
            )
        module = self._compiled(placed.module)
        step = replace(placed, module=module).step()
        before = _compilations()
        start = time.perf_counter()
        try:
            step()
        except TorchDynamoException as error:
            raise UnsupportedError(f"execution={name}: {str(error).strip().splitlines()[0]}") from error
        synchronise()
        seconds = time.perf_counter() - start
        after = _compilations()
        facts = {"first_call/seconds": seconds, **{name: after[name] - before[name] for name in after}}
        if not after["first_call/graphs"]:  # counted since the point began: its baseline may use the same code
            raise UnsupportedError(f"execution={name}: nothing of the module could be compiled{_why_broken()}")

        copied = placed.training is None and placed.is_small() and self._copies_share_code(placed)

        def fresh_step() -> Step:
            """The same code on a copy of module and input; a training step stays where it is."""
            if placed.training is not None:
                return step
            with elsewhere():
                other = self._compiled(copy.deepcopy(placed.module)) if copied else module
                return replace(placed, module=other, input=placed.input.clone()).step()

        return Execution(step, fresh_step, output=step, facts=facts, watch=_watch_compilation)

    def _copies_share_code(self, placed: Placed) -> bool:
        """Whether a copy of the module runs the code that was compiled for it."""
        check = _watch_compilation()
        try:
            replace(placed, module=self._compiled(copy.deepcopy(placed.module))).step()()
            check()
        except GateError:
            return False
        return True

    def _compiled(self, module: nn.Module) -> Any:
        return torch.compile(module, mode=self.mode, dynamic=False)


def _compilations() -> dict[str, float]:
    """What was compiled since this point began."""
    from torch._dynamo.utils import counters

    return {
        "first_call/cache_hits": float(counters["inductor"]["fxgraph_cache_hit"]),
        "first_call/cache_misses": float(counters["inductor"]["fxgraph_cache_miss"]),
        "first_call/graphs": float(counters["stats"]["unique_graphs"]),
        "first_call/graph_breaks": float(sum(counters["graph_break"].values())),
    }


def _why_broken() -> str:
    """The compiler's own reason for its first graph break, as the end of a sentence."""
    from torch._dynamo.utils import counters

    reasons = [str(reason).strip().splitlines()[0] for reason in counters["graph_break"]]
    return f": {reasons[0]}" if reasons else ""


def _watch_compilation() -> Callable[[], None]:
    """From now on nothing must be compiled; the result raises `GateError` where something was."""
    from torch._dynamo.utils import counters

    frames = counters["frames"]["total"]

    def check() -> None:
        if counters["frames"]["total"] != frames:
            raise GateError("it was compiled again while it was timed: the samples would mix two programs")

    return check
