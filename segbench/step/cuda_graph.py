"""execution=cuda_graph: the launches of one step recorded once and replayed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from segbench.base.errors import UnsupportedError
from segbench.step.onnx import inference_step
from segbench.step.placed import Execution, Placed

WARM_UP_CALLS = 3
"""On a side stream, before the recording, as PyTorch asks for."""


@dataclass(frozen=True)
class CudaGraph:
    """Record and replay."""

    def prepare(self, placed: Placed) -> Execution:
        """Record one step. `UnsupportedError` on other devices."""
        if placed.input.device.type != "cuda":
            raise UnsupportedError("execution=cuda_graph needs device=cuda")
        step = inference_step(placed, "cuda_graph")
        start = time.perf_counter()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_CALLS):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                result = step()
        except RuntimeError as error:
            raise UnsupportedError(f"execution=cuda_graph: {' '.join(str(error).split())}") from error
        torch.cuda.synchronize()

        def output() -> Any:
            graph.replay()
            torch.cuda.synchronize()
            return result

        facts = {"first_call/seconds": time.perf_counter() - start}
        return Execution(graph.replay, lambda: graph.replay, output=output, facts=facts)
