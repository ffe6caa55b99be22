"""execution=openvino: the module exported to ONNX, run by OpenVINO on the processor."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from segbench.base.checks import positive_number
from segbench.base.errors import UnsupportedError
from segbench.step.onnx import export, missing
from segbench.step.placed import Execution, Placed, Step, elsewhere

RENEWED_WITHIN_S = 0.1
"""A module that loads faster is loaded anew for every batch of samples."""


@dataclass(frozen=True)
class OpenVino:
    """One request with its input set once.

    OpenVINO chooses bfloat16 by itself where the processor has it; here it computes in float32. `tolerance` takes the
    place of the precision's, `None` keeps that. The package that would report usage is kept from being imported.
    """

    tolerance: float | None

    def __post_init__(self) -> None:
        if self.tolerance is not None:
            positive_number("execution.tolerance", self.tolerance)

    def prepare(self, placed: Placed) -> Execution:
        """Export and compile. `UnsupportedError` gives the library's own reason."""
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it cannot be imported then
        try:
            import openvino
        except ImportError as error:
            raise missing("openvino", "openvino", error) from error
        if placed.input.device.type != "cpu":
            raise UnsupportedError("execution=openvino runs on device=cpu")
        start = time.perf_counter()
        settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "module.onnx"
            export(placed, "openvino", path)
            try:
                model = openvino.Core().read_model(str(path))
                before_loading = time.perf_counter()
                compiled = openvino.Core().compile_model(model, "CPU", settings)
            except RuntimeError as error:
                raise UnsupportedError(f"execution=openvino: {str(error).strip().splitlines()[0]}") from error
        loading_s = time.perf_counter() - before_loading
        request = _request(openvino, compiled, placed)
        request.infer()
        facts = {"first_call/seconds": time.perf_counter() - start}

        def fresh_step() -> Step:
            """Loaded anew where that is quick, and in any case with an input and outputs that lie elsewhere."""
            with elsewhere():
                quick = loading_s < RENEWED_WITHIN_S
                renewed = openvino.Core().compile_model(model, "CPU", settings) if quick else compiled
                return partial(_request(openvino, renewed, placed).infer, share_outputs=True)

        def output() -> list[torch.Tensor]:
            request.infer()
            return [torch.from_numpy(tensor.data.copy()) for tensor in request.output_tensors]

        step = partial(request.infer, share_outputs=True)  # else every call copies its outputs
        return Execution(step, fresh_step, output, facts, self.tolerance, own_threads=True)


def _request(openvino: Any, compiled: Any, placed: Placed) -> Any:
    """A request that holds its input."""
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(placed.input.numpy(), shared_memory=False))
    return request
