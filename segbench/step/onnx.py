"""From a module to ONNX, and to a step of a runtime that reads it."""

import contextlib
import io
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, TypeVar

import torch

from segbench.base.errors import UnsupportedError, first_line
from segbench.step.placed import Execution, Placed, Step, at_other_addresses

RELOADED_WITHIN_S = 0.1
"""A module that a runtime loads faster is loaded anew for every batch of samples."""
Loaded = TypeVar("Loaded")
Bound: TypeAlias = tuple[Step, Callable[[], list[torch.Tensor]]]
"""A loaded module with an input and outputs of its own: the step, and what gives its results as tensors."""


def runtime_execution(
    load: Callable[[], Loaded], bind: Callable[[Loaded], Bound], started_s: float, tolerance: float | None
) -> Execution:
    """The execution of a runtime that computes on threads of its own; `started_s` is when its preparation began.

    `load` reads the module, `bind` gives it input and outputs and calls it once.
    """
    before_loading = time.perf_counter()
    loaded = load()
    loading_s = time.perf_counter() - before_loading
    step, output = bind(loaded)
    facts = {"first_call/seconds": time.perf_counter() - started_s}

    def fresh_step() -> Step:
        """Loaded anew where that is quick, and in any case with input and outputs at other addresses."""
        with at_other_addresses():
            return bind(load() if loading_s < RELOADED_WITHIN_S else loaded)[0]

    return Execution(step, fresh_step, output, facts, tolerance, own_threads=True)


def export(placed: Placed, execution: str) -> bytes:
    """The module as ONNX with this input's shape; float32 only.

    Raises `UnsupportedError` with the exporter's own reason where it cannot.
    """
    _require_exportable(placed, execution)
    try:
        import onnxscript  # noqa: F401  # what the exporter needs
    except ImportError as error:
        raise missing(execution, "onnx", error) from error
    with _quiet(), torch.inference_mode(False), torch.no_grad():
        try:
            program = torch.onnx.export(placed.module, (placed.input.clone(),), dynamo=True, verbose=False)
        except Exception as error:  # the exporter's own exceptions have no common base
            cause: BaseException = error
            while cause.__cause__:
                cause = cause.__cause__
            raise UnsupportedError(
                f"execution={execution}: the module cannot be exported: {first_line(cause)}"
            ) from error
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def _require_exportable(placed: Placed, execution: str) -> None:
    inference_step(placed, execution)
    if not placed.input.is_contiguous():
        raise UnsupportedError(
            f"memory_format=channels_last is not available with execution={execution}: it lays maps out itself"
        )
    if placed.autocast is not None or placed.input.dtype is not torch.float32:
        raise UnsupportedError(f"execution={execution} runs float32 modules: use precision=fp32")


def inference_step(placed: Placed, execution: str) -> Step:
    """The forward pass. Raises `UnsupportedError` for a training step."""
    if placed.training is not None:
        raise UnsupportedError(f"execution={execution} has no training steps: use phase=inference")
    return placed.step()


def missing(execution: str, extra: str, error: ImportError) -> UnsupportedError:
    """What to say where an extra is not installed."""
    return UnsupportedError(f"execution={execution} needs the extra `{extra}` (pip install segbench[{extra}]): {error}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and deprecation notes off the screen, and its reading of old flags from failing.

    The exporter asks cuDNN for `allow_tf32`, which PyTorch 2.9 and later refuse to answer while the newer
    `fp32_precision` is `ieee`. Nothing is computed in between.
    """
    backends: Any = torch.backends  # newer than its type stubs
    precision = backends.fp32_precision
    backends.fp32_precision = "tf32"
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        backends.fp32_precision = precision
