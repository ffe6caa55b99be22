"""execution=compile and its variants: the module compiled by `torch.compile`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from segbench.checks import UnsupportedError, one_of
from segbench.execute import Execution, GateError, Placed, synchronise

MODES = ("default", "reduce-overhead", "max-autotune")


@dataclass(frozen=True)
class Compiled:
    """Compile the module in one of PyTorch's modes, for exactly this input."""

    mode: str

    def __post_init__(self) -> None:
        one_of("execution.mode", self.mode, MODES)

    def prepare(self, placed: Placed) -> Execution:
        """Compile by a first call. `UnsupportedError` gives the compiler's own reason where it cannot."""
        from torch._dynamo.exc import TorchDynamoException
        from torch._dynamo.utils import counters

        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no CUDA is no news
        module: Any = torch.compile(placed.module, mode=self.mode, dynamic=False)
        step = replace(placed, module=module).step()
        counters.clear()
        start = time.perf_counter()
        try:
            step()
        except TorchDynamoException as error:
            raise UnsupportedError(f"execution=compile: {str(error).strip().splitlines()[0]}") from error
        synchronise()
        facts = {
            "first_call/seconds": time.perf_counter() - start,
            "first_call/cache_hits": float(counters["inductor"]["fxgraph_cache_hit"]),
            "first_call/cache_misses": float(counters["inductor"]["fxgraph_cache_miss"]),
            "first_call/graphs": float(counters["stats"]["unique_graphs"]),
            "first_call/graph_breaks": float(sum(counters["graph_break"].values())),
        }
        return Execution(step, lambda: step, output=step, facts=facts, watch=_watch_compilation)


def _watch_compilation() -> Callable[[], None]:
    """From now on nothing must be compiled; the result raises `GateError` where something was."""
    from torch._dynamo.utils import counters

    frames = counters["frames"]["total"]

    def check() -> None:
        if counters["frames"]["total"] != frames:
            raise GateError("it was compiled again while it was timed: the samples would mix two programs")

    return check
