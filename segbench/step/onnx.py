"""From a module to ONNX, for the runtimes that read it."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from segbench.base.errors import UnsupportedError
from segbench.step.placed import Placed, Step


def export(placed: Placed, execution: str, path: Path) -> None:
    """Write the module as ONNX with this input's shape; float32 only.

    Raises `UnsupportedError` with the exporter's own reason where it cannot.
    """
    require_float32(placed, execution)
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
            reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
            raise UnsupportedError(f"execution={execution}: the module cannot be exported: {reason}") from error
    assert program is not None
    program.save(str(path))


def require_float32(placed: Placed, execution: str) -> None:
    """Raise `UnsupportedError` for another precision than float32."""
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
