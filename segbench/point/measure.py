"""One point, measured: agreement of forms, counts, memory, the gate, and last the latency beside the baseline's."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import nn

from segbench.base.errors import GateError, UnsupportedError
from segbench.blocks.deploy import has_deploy_form
from segbench.measure.flops_torch import flops_torch
from segbench.measure.latency import SETTLING_S
from segbench.measure.macs_thop import macs_thop
from segbench.measure.memory import cuda_peak_bytes, peak_rss_delta_bytes
from segbench.measure.operators import Trace
from segbench.measure.parameters import buffer_bytes, parameter_bytes, parameter_count, saved_bytes
from segbench.measure.result import Metrics, Result
from segbench.measure.trace import trace_step
from segbench.point.gate import forms_agree, verified
from segbench.point.processes import summarise
from segbench.point.task import Task
from segbench.step.placed import Execution, Placed, in_form
from segbench.step.training import TrainingStep

MAP_DIMENSIONS = 4
EQUIVALENT_PIXELS = 512**2


def measure(task: Task, baseline: Task | None, result: Result, own_process: bool = False) -> None:
    """Add everything to `result`, in the order in which it is found: a failure leaves what was found before.

    `own_process` says that nothing else was measured in this process: then its memory is the point's own.
    """
    metrics = result.metrics
    metrics |= forms_agree(task)
    chosen = in_form(task.module, task.form)
    metrics |= {"macs/thop": macs_thop(chosen, task.input), "flops/torch": flops_torch(chosen, task.input)}
    metrics |= _sizes(task, chosen)
    with task.gradient_mode():
        placed = task.placed(in_form(task.module, task.form))
        trace = _traced(placed)
        metrics |= _trace_metrics(trace, task.batch_size) | _other_form_peak(task, trace)
        execution, found = verified(task, placed)
        metrics |= found
        if task.device.type == "cuda":
            metrics |= cuda_peak_bytes(execution.step)
        if own_process:
            metrics |= peak_rss_delta_bytes(execution.step)
        result |= _timed(task, baseline, execution)
        metrics |= _efficiency(task, metrics)
        result |= task.analysis.examine(task, placed, trace, metrics["latency_ms/median"])


def measure_latency(task: Task, baseline: Task | None, result: Result, process: int) -> None:
    """Add the latency alone, of the process of this number; the gate stands before it all the same."""
    with task.gradient_mode():
        execution, found = verified(task, task.placed(in_form(task.module, task.form)))
        result.metrics |= found
        result |= _timed(task, baseline, execution, process)


def _timed(task: Task, baseline: Task | None, execution: Execution, process: int = 0) -> Result:
    """The latency, beside that of the baseline, which passes the gate first."""
    executions = {"the point": execution}
    if baseline:
        with _naming("the baseline"):
            forms_agree(baseline)
            placed = baseline.placed(in_form(baseline.module, baseline.form))
            executions["the baseline"], _ = verified(baseline, placed)
    checks = {who: each.start_check() for who, each in executions.items()}
    settling_s = SETTLING_S if baseline and any(each.own_threads for each in executions.values()) else 0
    makers = [each.fresh_step for each in executions.values()]
    found = task.timing.measure(makers, task.device.torch_device, task.seed + process, settling_s)
    for who, check in checks.items():
        with _naming(who):
            check()
    for who, each in executions.items():
        if isinstance(each.step, TrainingStep) and not math.isfinite(float(each.step())):
            raise GateError(f"{who}'s loss is not finite any more: phase.learning_rate is too large")
    summarise(found, task.batch_size)
    return found


@contextmanager
def _naming(who: str) -> Iterator[None]:
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
    if parameters := metrics[f"parameters/{task.form}"]:
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
    peaks = {task.form: trace.peak_bytes, other: _traced(task.placed(in_form(task.module, other))).peak_bytes}
    return {
        "memory_bytes/peak_activation_train": peaks["train"],
        "memory_bytes/peak_activation_deploy": peaks["deploy"],
        "memory_saved_percent/peak_activation_deploy": 100 * (1 - peaks["deploy"] / peaks["train"]),
    }


def _sizes(task: Task, chosen: nn.Module) -> Metrics:
    """Parameters and bytes of both forms, and of the chosen one; of a network's encoder the deploy form's."""
    deployed = chosen if task.form == "deploy" else in_form(task.module, "deploy")
    encoder = getattr(deployed, "encoder", None)
    return {
        **({"parameters/encoder": parameter_count(encoder)} if isinstance(encoder, nn.Module) else {}),
        "parameters/train": parameter_count(task.module),
        "parameters/deploy": parameter_count(deployed),
        "memory_bytes/parameters": parameter_bytes(chosen),
        "memory_bytes/parameters_train": parameter_bytes(task.module),
        "memory_bytes/parameters_deploy": parameter_bytes(deployed),
        "memory_bytes/buffers": buffer_bytes(chosen),
        "memory_bytes/saved": saved_bytes(chosen),
    }
