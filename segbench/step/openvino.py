"""execution=openvino: the module exported to ONNX, run by OpenVINO on the processor."""

import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from segbench.base.checks import positive_number
from segbench.base.errors import UnsupportedError, first_line
from segbench.step.onnx import Bound, export, missing, runtime_execution
from segbench.step.placed import Execution, Placed


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

    def set_up(self, placed: Placed) -> Execution:
        """Export and compile. `UnsupportedError` gives the library's own reason."""
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it cannot be imported then
        try:
            import openvino
        except ImportError as error:
            raise missing("openvino", "openvino", error) from error
        if placed.input.device.type != "cpu":
            raise UnsupportedError("execution=openvino runs on device=cpu")
        started_s = time.perf_counter()
        settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
        exported = export(placed, "openvino")
        try:
            model = openvino.Core().read_model(exported)
            return runtime_execution(
                load=lambda: openvino.Core().compile_model(model, "CPU", settings),
                bind=lambda compiled: _bound(openvino, compiled, placed),
                started_s=started_s,
                tolerance=self.tolerance,
            )
        except RuntimeError as error:
            raise UnsupportedError(f"execution=openvino: {first_line(error)}") from error


def _bound(openvino: Any, compiled: Any, placed: Placed) -> Bound:
    """A request that holds its input; it has run once."""
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(placed.input.numpy(), shared_memory=False))
    request.infer()

    def output() -> list[torch.Tensor]:
        request.infer()
        return [torch.from_numpy(tensor.data.copy()) for tensor in request.output_tensors]

    return partial(request.infer, share_outputs=True), output  # else every call copies its outputs
