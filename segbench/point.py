"""One point as plain values: a module, an input and how to measure it -> metrics and raw samples."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segbench.analysis import FullAnalysis, NoAnalysis, Subject
from segbench.deploy import has_deploy_form
from segbench.execute import Execution, in_form, place, set_float32_precision
from segbench.findings import Findings, Metrics, summarise
from segbench.measure.cuda_memory import cuda_peak_bytes
from segbench.measure.error import relative_error, train_deploy_error
from segbench.measure.flops_torch import flops_torch
from segbench.measure.latency import AdaptiveProtocol, FixedProtocol
from segbench.measure.macs_thop import macs_thop
from segbench.measure.parameters import buffer_bytes, parameter_bytes, parameter_count, saved_bytes
from segbench.measure.process_memory import peak_rss_delta_bytes
from segbench.measure.trace import Trace, trace_step

Protocol = AdaptiveProtocol | FixedProtocol


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
    memory_format: str
    timing: Protocol
    analysis: NoAnalysis | FullAnalysis
    machine: Mapping[str, Any]
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
    with torch.inference_mode():
        execution, metrics["error/vs_reference"] = _verified(task, chosen)
        metrics |= _sizes(task.module, execution.module)
        trace = trace_step(execution.step, execution.module)
        metrics |= _traced(trace)
        if task.device.type == "cuda":
            metrics |= cuda_peak_bytes(execution.step)
        if own_process:
            metrics |= peak_rss_delta_bytes(execution.step)
        metrics |= _other_form_peak(task, trace)
        _time(task, baseline, execution, findings)
        examined = task.analysis.examine(
            Subject(
                module=execution.module,
                input=task.input,
                step=execution.step,
                trace=trace,
                latency_ms=metrics["latency_ms/median"],
                device=task.device,
                dtype=task.dtype,
                seed=task.seed,
                machine=task.machine,
            )
        )
    metrics |= examined.metrics
    findings.tables |= examined.tables


def _traced(trace: Trace) -> Metrics:
    """What one run of the step shows."""
    return {
        "flops/audited": trace.flops,
        "flops/uncounted_operators": len(trace.uncounted),
        "memory_bytes/peak_activation": trace.peak_bytes,
        "memory_bytes/moved": trace.bytes_moved,
    }


def _other_form_peak(task: Task, trace: Trace) -> Metrics:
    """Traced peaks of training and deploy form, where there are two, and what the deploy form saves."""
    if not has_deploy_form(task.module):
        return {}
    other = "train" if task.form == "deploy" else "deploy"
    execution = place(in_form(task.module, other), task.input, task.device, task.dtype, task.memory_format)
    peaks = {task.form: trace.peak_bytes, other: trace_step(execution.step, execution.module).peak_bytes}
    return {
        "memory_bytes/peak_activation_train": peaks["train"],
        "memory_bytes/peak_activation_deploy": peaks["deploy"],
        "memory_saved_percent/peak_activation_deploy": 100 * (1 - peaks["deploy"] / peaks["train"]),
    }


def measure_latency(task: Task, baseline: Task | None, findings: Findings) -> None:
    """Fill `findings` with the latency alone; the gate stands before it all the same."""
    with torch.inference_mode():
        execution, findings.metrics["error/vs_reference"] = _verified(task, in_form(task.module, task.form))
        _time(task, baseline, execution, findings)


def _time(task: Task, baseline: Task | None, execution: Execution, findings: Findings) -> None:
    makers = [execution.fresh_step]
    if baseline:
        _forms_agree(baseline)
        makers.append(_verified(baseline, in_form(baseline.module, baseline.form))[0].fresh_step)
    timed = task.timing.measure(makers, task.device, task.seed)
    findings.samples |= timed.samples
    findings.verdicts |= timed.verdicts
    findings.metrics |= {f"timing/{name}": value for name, value in timed.facts.items()}
    summarise(findings, task.batch_size)


def _verified(task: Task, chosen: nn.Module) -> tuple[Execution, float]:
    """The module where and how it runs, and its error against the eager float32 training form.

    Raises `GateError` outside the precision's tolerance.
    """
    set_float32_precision("ieee")
    reference = place(copy.deepcopy(task.module), task.input, task.device, torch.float32).step()
    execution = place(chosen, task.input, task.device, task.dtype, task.memory_format)
    set_float32_precision(task.fp32_precision)
    error = relative_error(execution.step(), reference)
    if not error <= task.tolerance:
        raise GateError(
            f"the output differs from the float32 reference by {error:.1e}, allowed is {task.tolerance:.0e}"
        )
    return execution, error


def _forms_agree(task: Task) -> Metrics:
    """Agreement of training and deploy form, where there are two; `GateError` outside the tolerance."""
    if not has_deploy_form(task.module):
        return {}
    error = train_deploy_error(task.module, task.input)
    if not error <= task.tolerance:
        raise GateError(f"training and deploy form differ by {error:.1e}, allowed is {task.tolerance:.0e}")
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
