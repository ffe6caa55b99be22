"""execution=onnxruntime and its int8 variants: the module exported to ONNX, run by ONNX Runtime."""

import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from segbench.base.checks import one_of, positive_number
from segbench.base.errors import UnsupportedError, first_line
from segbench.step.onnx import Bound, export, missing, runtime_execution
from segbench.step.placed import Execution, Placed

QUANTISATIONS = ("none", "dynamic", "static")
CALIBRATION_INPUTS = 8
CUDA_PROVIDER = "CUDAExecutionProvider"


@dataclass(frozen=True)
class OnnxRuntime:
    """A session with input and output bound once, so that nothing is copied in the loop.

    `quantisation`: `none` (float32), `dynamic` (int8 weights, activations quantised while it runs) or `static` (int8,
    with ranges from 8 seeded normal inputs). `tolerance` takes the place of the precision's, `None` keeps that.
    """

    quantisation: str
    tolerance: float | None

    def __post_init__(self) -> None:
        one_of("execution.quantisation", self.quantisation, QUANTISATIONS)
        if self.tolerance is not None:
            positive_number("execution.tolerance", self.tolerance)

    def set_up(self, placed: Placed) -> Execution:
        """Export, quantise where asked for, and load. `UnsupportedError` gives the library's own reason."""
        name = "onnxruntime" if self.quantisation == "none" else f"onnxruntime_int8_{self.quantisation}"
        try:
            import onnxruntime
        except ImportError as error:
            raise missing(name, "onnx", error) from error
        started_s = time.perf_counter()
        model = export(placed, name)
        if self.quantisation != "none":
            model = self._quantised(model, placed, name)
        return runtime_execution(
            load=lambda: self._session(onnxruntime, model, placed, name),
            bind=lambda session: _bound(onnxruntime, session, placed),
            started_s=started_s,
            tolerance=self.tolerance,
        )

    def _session(self, onnxruntime: Any, model: bytes, placed: Placed, name: str) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        provider: Any = "CPUExecutionProvider"
        if placed.input.device.type == "cuda":
            if CUDA_PROVIDER not in onnxruntime.get_available_providers():
                raise UnsupportedError(f"execution={name} on device=cuda needs the package onnxruntime-gpu")
            provider = (CUDA_PROVIDER, {"device_id": placed.input.device.index, "use_tf32": 0})
        try:
            return onnxruntime.InferenceSession(model, options, providers=[provider])
        except Exception as error:  # its exceptions have no common base
            raise UnsupportedError(f"execution={name}: {first_line(error)}") from error

    def _quantised(self, exported: bytes, placed: Placed, name: str) -> bytes:
        import onnx
        from onnxruntime import quantization

        with tempfile.TemporaryDirectory() as folder:
            path, prepared, quantised = (Path(folder) / file for file in ("module.onnx", "prepared.onnx", "int8.onnx"))
            path.write_bytes(exported)
            try:
                quantization.quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
                model = onnx.load(prepared)
                del model.graph.value_info[:]  # shapes by the exporter: the quantiser would infer others for some
                if self.quantisation == "dynamic":  # its convolutions take unsigned weights only
                    quantization.quantize_dynamic(model, quantised, weight_type=quantization.QuantType.QUInt8)
                else:
                    quantization.quantize_static(model, quantised, _calibration(model.graph.input[0].name, placed))
            except Exception as error:  # its exceptions have no common base
                raise UnsupportedError(f"execution={name}: it cannot be quantised: {first_line(error)}") from error
            operators = [node.op_type for node in onnx.load(quantised).graph.node]
            if not any("Quantize" in operator or operator.endswith("Integer") for operator in operators):
                raise UnsupportedError(f"execution={name}: the module has no operator that can be quantised")
            return quantised.read_bytes()


def _calibration(name: str, placed: Placed) -> SimpleNamespace:
    """Seeded normal inputs of the right shape; the point's own is not among them, because the gate looks at that."""
    random, shape = np.random.default_rng(0), tuple(placed.input.shape)
    inputs = ({name: random.standard_normal(shape, dtype=np.float32)} for _ in range(CALIBRATION_INPUTS))
    return SimpleNamespace(get_next=lambda: next(inputs, None))


def _bound(onnxruntime: Any, session: Any, placed: Placed) -> Bound:
    """Input and outputs in memory of their own, bound to the session; the first run tells the outputs' shapes."""
    device = placed.input.device.type
    binding = session.io_binding()
    index = placed.input.device.index or 0
    value = onnxruntime.OrtValue.ortvalue_from_numpy(placed.input.cpu().numpy().copy(), device, index)
    binding.bind_ortvalue_input(session.get_inputs()[0].name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name, device, index)
    session.run_with_iobinding(binding)
    for output, found in zip(session.get_outputs(), binding.get_outputs(), strict=True):
        binding.bind_ortvalue_output(output.name, found)

    def results() -> list[torch.Tensor]:
        session.run_with_iobinding(binding)
        return [torch.from_numpy(value.numpy()) for value in binding.get_outputs()]

    return partial(session.run_with_iobinding, binding), results
