"""One point as plain values: a module, an input and how to measure it -> metrics and raw samples."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from segbench.base.errors import UnsupportedError
from segbench.blocks.deploy import has_deploy_form
from segbench.measure.cuda_memory import cuda_peak_bytes
from segbench.measure.error import relative_error, train_deploy_error
from segbench.measure.flops_torch import flops_torch
from segbench.measure.latency import SETTLING_S, AdaptiveProtocol, FixedProtocol
from segbench.measure.machine import Machine
from segbench.measure.macs_thop import macs_thop
from segbench.measure.parameters import buffer_bytes, parameter_bytes, parameter_count, saved_bytes
from segbench.measure.process_memory import peak_rss_delta_bytes
from segbench.measure.trace import Trace, trace_step
from segbench.point.analysis import FullAnalysis, NoAnalysis, Subject
from segbench.point.findings import Findings, Metrics, summarise
from segbench.step.placed import Execution, GateError, Placed, Step, in_form, place, set_float32_precision
from segbench.step.training import Training, TrainingStep, first_losses, gradient_error, without_dropout

Timing = AdaptiveProtocol | FixedProtocol
MAP_DIMENSIONS = 4
EQUIVALENT_PIXELS = 512**2


class Engine(Protocol):
    """How a module runs; one class for each file in conf/execution."""

    def prepare(self, placed: Placed) -> Execution:
        """A step that can be checked and timed. `UnsupportedError` where this execution cannot serve."""
        ...


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
    gradient_tolerance: float
    form_tolerance: float
    memory_format: str
    timing: Timing
    execution: Engine
    autocast: torch.dtype | None
    training: Training | None
    analysis: NoAnalysis | FullAnalysis
    machine: Machine
    remeasure: bool
    seed: int

    @property
    def batch_size(self) -> int:
        """Images, or volumes, in the input."""
        return self.input.shape[0]


def measure(task: Task, baseline: Task | None, findings: Findings, own_process: bool = False) -> None:
    """Fill `findings`: agreement of forms, counts, the gate, memory, and last the latency, beside the baseline's.

    `own_process` says that nothing else was measured in this process: then its memory is the point's own.
    """
    metrics = findings.metrics
    metrics |= _forms_agree(task)
    chosen = in_form(task.module, task.form)
    metrics |= {"macs/thop": macs_thop(chosen, task.input), "flops/torch": flops_torch(chosen, task.input)}
    metrics |= _sizes(task.module, chosen)
    with _gradients(task):
        placed = _placed(task, in_form(task.module, task.form))
        trace = _traced(placed)
        metrics |= _trace_metrics(trace, task.batch_size) | _other_form_peak(task, trace)
        execution = _verified(task, placed, findings)
        if task.device.type == "cuda":
            metrics |= cuda_peak_bytes(execution.step)
        if own_process:
            metrics |= peak_rss_delta_bytes(execution.step)
        _time(task, baseline, execution, findings)
        metrics |= _efficiency(task, metrics)
        examined = task.analysis.examine(
            Subject(
                module=placed.module,
                input=placed.input,
                step=placed.step(),
                trace=trace,
                latency_ms=metrics["latency_ms/median"],
                device=task.device,
                dtype=task.dtype,
                seed=task.seed,
                machine=task.machine,
                remeasure=task.remeasure,
            )
        )
    metrics |= examined.metrics
    findings.tables |= examined.tables


def measure_latency(task: Task, baseline: Task | None, findings: Findings) -> None:
    """Fill `findings` with the latency alone; the gate stands before it all the same."""
    with _gradients(task):
        execution = _verified(task, _placed(task, in_form(task.module, task.form)), findings)
        _time(task, baseline, execution, findings)


def _gradients(task: Task) -> AbstractContextManager[Any]:
    """What a step runs in: inference mode, or nothing for a training step."""
    return torch.inference_mode() if task.training is None else nullcontext()


def _placed(task: Task, module: nn.Module) -> Placed:
    """A module where and how the point runs, eager; in training mode for a training step."""
    if task.training is not None:
        module = without_dropout(module.train())
    placed = place(module, task.input, task.device, task.dtype, task.memory_format)
    return replace(placed, autocast=task.autocast).trained(task.training)


def _verified(task: Task, placed: Placed, findings: Findings) -> Execution:
    """The point as it will be timed, its error against eager float32 recorded, and what the first call cost.

    The reference is the training form's forward pass, or its first training steps: the results of the first, its
    gradient, and the losses that follow. Raises `GateError` outside a tolerance.
    """
    set_float32_precision("ieee")
    reference_step = _reference_step(task)
    reference = _result(reference_step)
    set_float32_precision(task.fp32_precision)
    execution = task.execution.prepare(placed)
    findings.metrics |= execution.facts
    allowed = task.tolerance if execution.tolerance is None else execution.tolerance
    error = relative_error(_result(execution.step, execution.output), reference)
    _record_error(findings, "error/vs_reference", error)
    if not error <= allowed:
        repeated = relative_error(_result(_reference_step(task)), reference)
        if repeated > allowed:
            raise GateError(f"the module is not deterministic: two eager float32 runs differ by {repeated:.1e}")
        raise GateError(f"the output differs from the float32 reference by {error:.1e}, allowed is {allowed:.0e}")
    if isinstance(execution.step, TrainingStep) and isinstance(reference_step, TrainingStep):
        _verify_training(task, execution.step, reference_step, findings)
    return execution


def _reference_step(task: Task) -> Step:
    """The eager step in float32, training form, on the same weights and input."""
    module = copy.deepcopy(task.module)
    if task.training is not None:
        module = without_dropout(module.train())
    return place(module, task.input, task.device, torch.float32).trained(task.training).step()


def _verify_training(task: Task, step: TrainingStep, reference: TrainingStep, findings: Findings) -> None:
    """Compare the first gradient and the losses; `GateError` outside the tolerances."""
    losses = relative_error(step.losses, reference.losses)
    gradient = gradient_error(step.gradient, reference.gradient)
    _record_error(findings, "error/losses", losses)
    _record_error(findings, "error/gradient", gradient)
    if not gradient <= task.gradient_tolerance:
        raise GateError(
            f"the gradient differs from float32's by {gradient:.1e} of its length, "
            f"allowed is {task.gradient_tolerance:.0e}"
        )
    if not losses <= task.tolerance:
        raise GateError(f"the losses differ from float32's by {losses:.1e}, allowed is {task.tolerance:.0e}")


def _record_error(findings: Findings, name: str, error: float) -> None:
    if math.isfinite(error):
        findings.metrics[name] = error


def _result(step: Step, output: Callable[[], Any] | None = None) -> Any:
    """What is compared of a step: the results of the first training step, else its output."""
    if isinstance(step, TrainingStep):
        first_losses(step)
        return step.results
    return (output or step)()


def _time(task: Task, baseline: Task | None, execution: Execution, findings: Findings) -> None:
    executions = [execution]
    if baseline:
        with _named("the baseline"):
            _forms_agree(baseline)
            placed = _placed(baseline, in_form(baseline.module, baseline.form))
            executions.append(_verified(baseline, placed, Findings()))
    checks = [each.watch() for each in executions]
    settling_s = SETTLING_S if baseline and any(each.own_threads for each in executions) else 0
    timed = task.timing.measure([each.fresh_step for each in executions], task.device, task.seed, settling_s)
    for who, check in zip(("the point", "the baseline"), checks, strict=False):
        with _named(who):
            check()
    for who, each in zip(("the point", "the baseline"), executions, strict=False):
        if isinstance(each.step, TrainingStep) and not math.isfinite(float(each.step())):
            raise GateError(f"{who}'s loss is not finite any more: phase.learning_rate is too large")
    findings.samples |= timed.samples
    findings.verdicts |= timed.verdicts
    findings.metrics |= {f"timing/{name}": value for name, value in timed.facts.items()}
    summarise(findings, task.batch_size)


@contextmanager
def _named(who: str) -> Iterator[None]:
    """Say of which of the two an error speaks."""
    try:
        yield
    except (GateError, UnsupportedError) as error:
        raise type(error)(f"{who}: {error}") from error


def _traced(placed: Placed) -> Trace:
    """One run of the eager step; a training step's on a copy, whose weights it may change."""
    if placed.training is not None:
        placed = replace(placed, module=copy.deepcopy(placed.module))
    return trace_step(placed.step(), placed.module)


def _trace_metrics(trace: Trace, batch_size: int) -> Metrics:
    """What one run of the step shows."""
    return {
        "flops/audited": trace.flops,
        "flops/uncounted_operators": len(trace.uncounted),
        "memory_bytes/peak_activation": trace.peak_bytes,
        "memory_bytes/peak_activation_per_image": trace.peak_bytes / batch_size,
        "memory_bytes/moved": trace.bytes_moved,
        "memory_bytes/largest_working_set": max((o.working_set_bytes for o in trace.operators), default=0),
    }


def _efficiency(task: Task, metrics: Metrics) -> Metrics:
    """Images a second for each million parameters of the form; and by the pixels or voxels of 512 x 512 images."""
    found = {}
    parameters = metrics[f"parameters/{task.form}"]
    if parameters:
        found["throughput_img_s_per_mparam"] = metrics["throughput_img_s"] / (parameters / 1e6)
    if task.input.ndim >= MAP_DIMENSIONS:
        elements = math.prod(task.input.shape[2:])
        found["throughput_equivalent_img_s"] = metrics["throughput_img_s"] * elements / EQUIVALENT_PIXELS
    return found


def _other_form_peak(task: Task, trace: Trace) -> Metrics:
    """Traced peaks of training and deploy form, where there are two, and what the deploy form saves."""
    if not has_deploy_form(task.module) or task.training is not None:
        return {}
    other = "train" if task.form == "deploy" else "deploy"
    peaks = {task.form: trace.peak_bytes, other: _traced(_placed(task, in_form(task.module, other))).peak_bytes}
    return {
        "memory_bytes/peak_activation_train": peaks["train"],
        "memory_bytes/peak_activation_deploy": peaks["deploy"],
        "memory_saved_percent/peak_activation_deploy": 100 * (1 - peaks["deploy"] / peaks["train"]),
    }


def _forms_agree(task: Task) -> Metrics:
    """Agreement of training and deploy form, where there are two; `GateError` outside the tolerance."""
    if not has_deploy_form(task.module):
        return {}
    error = train_deploy_error(task.module, task.input)
    if not error <= task.form_tolerance:
        raise GateError(f"training and deploy form differ by {error:.1e}, allowed is {task.form_tolerance:.0e}")
    return {"error/train_vs_deploy": error}


def _sizes(module: nn.Module, chosen: nn.Module) -> Metrics:
    """Parameters and bytes of both forms, and of the chosen one; of a network's encoder the deploy form's."""
    deployed = in_form(module, "deploy")
    encoder = getattr(deployed, "encoder", None)
    return {
        **({"parameters/encoder": parameter_count(encoder)} if isinstance(encoder, nn.Module) else {}),
        "parameters/train": parameter_count(module),
        "parameters/deploy": parameter_count(deployed),
        "memory_bytes/parameters": parameter_bytes(chosen),
        "memory_bytes/parameters_train": parameter_bytes(module),
        "memory_bytes/parameters_deploy": parameter_bytes(deployed),
        "memory_bytes/buffers": buffer_bytes(chosen),
        "memory_bytes/saved": saved_bytes(chosen),
    }
