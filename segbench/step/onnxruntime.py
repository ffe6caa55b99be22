"""execution=onnxruntime and its int8 variants: the module exported to ONNX, run by ONNX Runtime."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segbench.base.checks import one_of, positive_number
from segbench.base.errors import UnsupportedError
from segbench.step.onnx import export, missing
from segbench.step.placed import Execution, Placed, Step, elsewhere

QUANTISATIONS = ("none", "dynamic", "static")
CALIBRATION_INPUTS = 8
CUDA_PROVIDER = "CUDAExecutionProvider"
RENEWED_WITHIN_S = 0.1
"""A session that loads faster is renewed for every batch of samples."""


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

    def prepare(self, placed: Placed) -> Execution:
        """Export, quantise where asked for, and load. `UnsupportedError` gives the library's own reason."""
        name = "onnxruntime" if self.quantisation == "none" else f"onnxruntime_int8_{self.quantisation}"
        try:
            import onnxruntime
        except ImportError as error:
            raise missing(name, "onnx", error) from error
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "module.onnx"
            export(placed, name, path)
            if self.quantisation != "none":
                path = self._quantised(path, placed, name)
            model = path.read_bytes()
        before_session = time.perf_counter()
        session = self._session(onnxruntime, model, placed, name)
        session_s = time.perf_counter() - before_session
        binding = _bound(onnxruntime, session, placed)
        first_call_s = time.perf_counter() - start

        def output() -> list[torch.Tensor]:
            session.run_with_iobinding(binding)
            return [torch.from_numpy(value.numpy()) for value in binding.get_outputs()]

        def fresh_step() -> Step:
            """A session of its own where that is quick, and in any case input and outputs that lie elsewhere."""
            with elsewhere():
                renewed = session
                if session_s < RENEWED_WITHIN_S:
                    renewed = self._session(onnxruntime, model, placed, name)
                return partial(renewed.run_with_iobinding, _bound(onnxruntime, renewed, placed))

        step = partial(session.run_with_iobinding, binding)
        facts = {"first_call/seconds": first_call_s}
        return Execution(step, fresh_step, output, facts, self.tolerance, own_threads=True)

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
            raise UnsupportedError(f"execution={name}: {str(error).splitlines()[0]}") from error

    def _quantised(self, path: Path, placed: Placed, name: str) -> Path:
        from onnxruntime import quantization

        prepared, quantised = path.with_name("prepared.onnx"), path.with_name("int8.onnx")
        try:
            quantization.quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
            _forget_shapes(prepared)
            if self.quantisation == "dynamic":  # its convolutions take unsigned weights only
                unsigned = quantization.QuantType.QUInt8
                quantization.quantize_dynamic(str(prepared), str(quantised), weight_type=unsigned)
            else:
                inputs = _calibration(quantization, placed, _input_name(prepared))
                quantization.quantize_static(str(prepared), str(quantised), inputs)
        except Exception as error:  # its exceptions have no common base
            raise UnsupportedError(f"execution={name}: it cannot be quantised: {str(error).splitlines()[0]}") from error
        if not _quantised_operators(quantised):
            raise UnsupportedError(f"execution={name}: the module has no operator that can be quantised")
        return quantised


def _quantised_operators(path: Path) -> int:
    """Operators that convert to integers or compute in them."""
    import onnx

    nodes = onnx.load(str(path)).graph.node
    return sum("Quantize" in node.op_type or node.op_type.endswith("Integer") for node in nodes)


def _forget_shapes(path: Path) -> None:
    """Take out the shapes of inner values that the exporter wrote: the quantiser's own inference contradicts some."""
    import onnx

    model = onnx.load(str(path))
    del model.graph.value_info[:]
    onnx.save(model, str(path))


def _input_name(path: Path) -> str:
    import onnx

    return str(onnx.load(str(path)).graph.input[0].name)


def _calibration(quantization: Any, placed: Placed, name: str) -> Any:
    """Seeded normal inputs of the right shape; the point's own is not among them, because the gate looks at that."""

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # untyped library
        def __init__(self) -> None:
            self.inputs: Iterator[NDArray[np.float32]] = iter(_calibration_inputs(placed))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            x = next(self.inputs, None)
            return None if x is None else {name: x}

    return Reader()


def _calibration_inputs(placed: Placed) -> Iterator[NDArray[np.float32]]:
    random = np.random.default_rng(0)
    for _ in range(CALIBRATION_INPUTS):
        yield random.standard_normal(tuple(placed.input.shape), dtype=np.float32)


def _bound(onnxruntime: Any, session: Any, placed: Placed) -> Any:
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
    return binding
