"""execution=openvino: the module exported to ONNX, run by OpenVINO on the processor."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from segbench.checks import UnsupportedError, positive_number
from segbench.execute import Execution, Placed
from segbench.execution.onnx import export, missing


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
                compiled = openvino.Core().compile_model(str(path), "CPU", settings)
            except RuntimeError as error:
                raise UnsupportedError(f"execution=openvino: {str(error).strip().splitlines()[0]}") from error
        request = compiled.create_infer_request()
        x = placed.input.contiguous().numpy()
        request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
        request.infer()
        facts = {"first_call/seconds": time.perf_counter() - start}

        def output() -> list[torch.Tensor]:
            request.infer()
            return [torch.from_numpy(tensor.data.copy()) for tensor in request.output_tensors]

        return Execution(request.infer, lambda: request.infer, output=output, facts=facts, tolerance=self.tolerance)
