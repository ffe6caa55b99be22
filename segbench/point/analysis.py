"""What `analysis=full` adds to a point: operators, modules, counts, working sets, the roofline, and timed parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from segbench.base.checks import positive_int, positive_number
from segbench.measure.analytic import bound
from segbench.measure.ceilings import Ceilings, ceilings
from segbench.measure.components import Component, component_latencies, parts_at
from segbench.measure.machine import Machine
from segbench.measure.macs_thop import macs_thop_by_module
from segbench.measure.trace import Operator, Trace

Row = dict[str, Any]


@dataclass(frozen=True)
class Examined:
    """Metrics by their names in the record, and tables as rows by the names of their files."""

    metrics: dict[str, float] = field(default_factory=dict)
    tables: dict[str, list[Row]] = field(default_factory=dict)


@dataclass(frozen=True)
class NoAnalysis:
    """`analysis=none`: nothing beyond the point's own metrics."""

    def examine(self, subject: Subject) -> Examined:
        """Nothing."""
        return Examined()


@dataclass(frozen=True)
class Subject:
    """What there is to examine: a module in its form and place, its trace, and the time it took."""

    module: nn.Module
    input: Tensor
    step: Callable[[], Any]
    trace: Trace
    latency_ms: float
    device: torch.device
    dtype: torch.dtype
    seed: int
    machine: Machine
    remeasure: bool


@dataclass(frozen=True)
class FullAnalysis:
    """`analysis=full`.

    `depth` says how deep the parts lie whose time is measured, `components_budget_s` for how long. An operator of fewer
    than `memory_below` FLOPs a byte is bound by memory, of `compute_from` or more by arithmetic.
    """

    depth: int
    components_budget_s: float
    memory_below: float
    compute_from: float

    def __post_init__(self) -> None:
        positive_int("analysis.depth", self.depth)
        positive_number("analysis.components_budget_s", self.components_budget_s)
        positive_number("analysis.memory_below", self.memory_below)
        if positive_number("analysis.compute_from", self.compute_from) < self.memory_below:
            raise ValueError(
                f"analysis.compute_from={self.compute_from} is not allowed: "
                f"it must be analysis.memory_below={self.memory_below} or more"
            )

    def examine(self, subject: Subject) -> Examined:
        """Everything, from one trace; the parts are timed here."""
        trace = subject.trace
        machine = subject.machine
        limits = ceilings(machine, subject.device, subject.dtype, subject.remeasure)
        operators = [self._operator_row(operator, machine, limits) for operator in trace.operators]
        for row in operators:
            row["peak"] = row["index"] == trace.peak_operator
        attainable_ms = sum(row["attainable_ms"] for row in operators)
        parts = component_latencies(
            subject.step,
            parts_at(subject.module, self.depth, {call.path for call in trace.calls}),
            self.components_budget_s,
            subject.device,
            subject.seed,
        )
        metrics = {
            "roofline/attained_gflop_s": trace.flops / subject.latency_ms / 1e6,
            "roofline/attained_gb_s": trace.bytes_moved / subject.latency_ms / 1e6,
            "roofline/attainable_ms": attainable_ms,
            "roofline/share": attainable_ms / subject.latency_ms,
            "roofline/peak_gflop_s": limits.peak_flops / 1e9,
            **{f"roofline/bandwidth_{level}_gb_s": value / 1e9 for level, value in limits.bandwidth.items()},
            **{
                f"machine/{name}": float(size)
                for name, size in (
                    ("l1_bytes", machine.l1_bytes),
                    ("l2_bytes", machine.l2_bytes),
                    ("l3_bytes", machine.l3_bytes),
                )
                if size is not None
            },
        }
        tables = {
            "operators": operators,
            "kinds": kinds(operators),
            "modules": module_rows(trace, subject.module),
            "counts": count_rows(trace, subject.module, subject.input),
            "components": [_component_row(part) for part in parts],
        }
        return Examined(metrics, tables)

    def _operator_row(self, operator: Operator, machine: Machine, limits: Ceilings) -> Row:
        level = machine.level(operator.working_set_bytes)
        return {
            "index": operator.index,
            "path": operator.path,
            "module_type": operator.module_type,
            "operator": operator.name,
            "input_shapes": " ".join(_shape(shape) for shape in operator.input_shapes),
            "output_shape": _shape(operator.output_shape),
            "dtype": operator.dtype,
            "flops": operator.flops,
            "product_flops": operator.product_flops,
            "bytes_read": operator.bytes_read,
            "bytes_written": operator.bytes_written,
            "working_set_bytes": operator.working_set_bytes,
            "level": level,
            "intensity": operator.intensity,
            "bound": bound(operator.intensity, self.memory_below, self.compute_from),
            "attainable_ms": 1000 * limits.attainable_s(operator.flops or 0, operator.working_set_bytes, level),
            "live_before_bytes": operator.live_before_bytes,
            "live_after_bytes": operator.live_after_bytes,
        }


def kinds(operators: list[Row]) -> list[Row]:
    """Operators of the same name together, the most FLOPs first."""
    found: dict[str, Row] = {}
    for row in operators:
        kind = found.setdefault(
            row["operator"],
            {
                "operator": row["operator"],
                "calls": 0,
                "flops": 0,
                "product_flops": 0,
                "bytes_moved": 0,
                "counted": True,
            },
        )
        kind["calls"] += 1
        kind["flops"] += row["flops"] or 0
        kind["product_flops"] += row["product_flops"]
        kind["bytes_moved"] += row["working_set_bytes"]
        kind["counted"] &= int(row["flops"] is not None)
    return sorted(found.values(), key=lambda kind: (-kind["flops"], -kind["bytes_moved"]))


def module_rows(trace: Trace, module: nn.Module) -> list[Row]:
    """Every module that ran, in the order of its first call: what happened in it and below it, over all its calls."""
    parameters = {name: sum(p.numel() for p in child.parameters()) for name, child in module.named_modules()}
    found: dict[str, Row] = {}
    for call in sorted(trace.calls, key=lambda call: (call.first, -call.last)):
        inside = trace.operators[call.first : call.last]
        row = found.setdefault(
            call.path,
            {
                "path": call.path,
                "module_type": call.module_type,
                "calls": 0,
                "parameters": parameters.get(call.path, 0),
                "output_shape": _shape(call.output_shape),
                "output_bytes": call.output_bytes,
                "flops": 0,
                "product_flops": 0,
                "bytes_moved": 0,
                "peak_live_bytes": 0,
            },
        )
        row["calls"] += 1
        row["flops"] += sum(operator.flops or 0 for operator in inside)
        row["product_flops"] += sum(operator.product_flops for operator in inside)
        row["bytes_moved"] += sum(operator.working_set_bytes for operator in inside)
        row["peak_live_bytes"] = max([row["peak_live_bytes"], *(operator.live_after_bytes for operator in inside)])
    return list(found.values())


def count_rows(trace: Trace, module: nn.Module, x: Tensor) -> list[Row]:
    """The three counts side by side by the type of the innermost module, and why they differ.

    The types' `macs_thop`, `flops_torch` and `flops_audited` add up to the three metrics.
    """
    types = {name: type(child).__name__ for name, child in module.named_modules()}
    thop: dict[str, float] = defaultdict(float)
    for path, macs in macs_thop_by_module(module, x).items():
        thop[types[path]] += macs
    torch_flops: dict[str, int] = defaultdict(int)
    audited: dict[str, int] = defaultdict(int)
    for operator in trace.operators:
        torch_flops[operator.module_type] += operator.product_flops
        audited[operator.module_type] += operator.flops or 0
    names = sorted({*torch_flops, *audited, *(name for name, macs in thop.items() if macs)})
    rows = [
        {
            "module_type": name,
            "macs_thop": thop[name],
            "flops_torch": torch_flops[name],
            "flops_audited": audited[name],
            "note": _why(thop[name], torch_flops[name], audited[name]),
        }
        for name in names
    ]
    return sorted(rows, key=lambda row: -row["flops_audited"])


def _why(thop: float, products: int, audited: int) -> str:
    """Why the counts of a type differ, in words."""
    macs = products / 2
    notes = []
    if thop < macs:
        notes.append("thop does not see these products" if not thop else "thop misses some products")
    elif thop > macs:
        notes.append("thop counts what is no product" if not macs else "thop counts more than the products")
    if audited > products:
        notes.append("torch leaves out what is no product")
    return "; ".join(notes)


def _component_row(part: Component) -> Row:
    return {
        "path": part.path,
        "module_type": part.module_type,
        "calls": part.calls,
        "latency_ms": part.latency_ms,
        "share": part.share.middle,
        "share_ci95_low": part.share.low,
        "share_ci95_high": part.share.high,
    }


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
