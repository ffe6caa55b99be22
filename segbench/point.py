"""One point as plain values: a module, an input and how to measure it -> metrics and raw samples."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segbench.deploy import has_deploy_form
from segbench.execute import in_form, place, set_float32_precision
from segbench.measure.activation import peak_activation_bytes
from segbench.measure.cuda_memory import cuda_peak_bytes
from segbench.measure.error import relative_error, train_deploy_error
from segbench.measure.flops_torch import flops_torch
from segbench.measure.latency import Samples, fixed_protocol
from segbench.measure.macs_thop import macs_thop
from segbench.measure.parameters import buffer_bytes, parameter_bytes, parameter_count, saved_bytes
from segbench.measure.statistics import summary

Metrics = dict[str, float]


class GateError(RuntimeError):
    """A point whose result must not be timed; the message says why."""


@dataclass(frozen=True)
class Task:
    """A point that can be served: everything that measuring it needs, as plain values."""

    module: nn.Module
    input: Tensor
    form: str
    device: torch.device
    dtype: torch.dtype
    fp32_precision: str
    tolerance: float
    timing: dict[str, int]

    @property
    def batch_size(self) -> int:
        """Images, or volumes, in the input."""
        return self.input.shape[0]


def measure(task: Task, metrics: Metrics, samples: Samples) -> None:
    """Fill `metrics` and `samples` in the order in which they are known, so that a failure keeps the first."""
    metrics |= _forms_agree(task.module, task.input, task.tolerance)
    chosen = in_form(task.module, task.form)
    metrics |= {"macs/thop": macs_thop(chosen, task.input), "flops/torch": flops_torch(chosen, task.input)}
    with torch.inference_mode():
        reference = place(copy.deepcopy(task.module), task.input, task.device, torch.float32).step()
        execution = place(chosen, task.input, task.device, task.dtype)
        metrics |= _sizes(task.module, execution.module)
        set_float32_precision(task.fp32_precision)
        metrics["error/vs_reference"] = _checked(execution.step(), reference, task.tolerance)
        del reference
        metrics["memory_bytes/peak_activation"] = peak_activation_bytes(execution.step)
        if task.device.type == "cuda":
            metrics |= cuda_peak_bytes(execution.step)
        samples |= fixed_protocol(execution.step, task.device, **task.timing)
    for name, series in samples.items():
        metrics |= summary(name, series)
    metrics["throughput_img_s"] = 1000 * task.batch_size / metrics["latency_ms/median"]


def _forms_agree(module: nn.Module, x: Tensor, tolerance: float) -> Metrics:
    """Agreement of training and deploy form, where there are two; `GateError` outside the tolerance."""
    if not has_deploy_form(module):
        return {}
    error = train_deploy_error(module, x)
    if not error <= tolerance:
        raise GateError(f"training and deploy form differ by {error:.1e}, allowed is {tolerance:.0e}")
    return {"error/train_vs_deploy": error}


def _sizes(module: nn.Module, chosen: nn.Module) -> Metrics:
    """Parameters and bytes of both forms, and of the chosen one."""
    deployed = in_form(module, "deploy")
    return {
        "parameters/train": parameter_count(module),
        "parameters/deploy": parameter_count(deployed),
        "memory_bytes/parameters": parameter_bytes(chosen),
        "memory_bytes/parameters_train": parameter_bytes(module),
        "memory_bytes/parameters_deploy": parameter_bytes(deployed),
        "memory_bytes/buffers": buffer_bytes(chosen),
        "memory_bytes/saved": saved_bytes(chosen),
    }


def _checked(result: Any, reference: Any, tolerance: float) -> float:
    """Error of the step against the eager float32 training form; `GateError` outside the tolerance."""
    error = relative_error(result, reference)
    if not error <= tolerance:
        raise GateError(f"the output differs from the float32 reference by {error:.1e}, allowed is {tolerance:.0e}")
    return error
