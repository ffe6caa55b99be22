"""analysis=full: operators, modules, counts, working sets, the roofline, and timed parts, beside a point's metrics."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from segbench.base.checks import positive_int, positive_number
from segbench.base.errors import NotAllowedError
from segbench.measure.analytic import bound
from segbench.measure.ceilings import Ceilings, ceilings
from segbench.measure.machine import Machine
from segbench.measure.macs_thop import macs_thop_by_module
from segbench.measure.operators import ModuleCall, Operator, Trace
from segbench.measure.parameters import parameter_count
from segbench.measure.parts import part_latencies, parts_at
from segbench.measure.result import Metrics, Result, Row
from segbench.point.task import Task
from segbench.step.placed import Placed


@dataclass(frozen=True)
class NoAnalysis:
    """`analysis=none`: nothing beyond the point's own metrics."""

    forward_only: ClassVar[bool] = False

    def examine(self, task: Task, placed: Placed, trace: Trace, latency_ms: float) -> Result:
        """Nothing."""
        return Result()


@dataclass(frozen=True)
class FullAnalysis:
    """`analysis=full`.

    `depth` says how deep the parts lie whose time is measured, `components_budget_s` for how long. An operator of fewer
    than `memory_below` FLOPs a byte is bound by memory, of `compute_from` or more by arithmetic.
    """

    forward_only: ClassVar[bool] = True
    depth: int
    components_budget_s: float
    memory_below: float
    compute_from: float

    def __post_init__(self) -> None:
        positive_int("analysis.depth", self.depth)
        positive_number("analysis.components_budget_s", self.components_budget_s)
        positive_number("analysis.memory_below", self.memory_below)
        if positive_number("analysis.compute_from", self.compute_from) < self.memory_below:
            rule = f"it must be analysis.memory_below={self.memory_below} or more"
            raise NotAllowedError("analysis.compute_from", self.compute_from, rule)

    def examine(self, task: Task, placed: Placed, trace: Trace, latency_ms: float) -> Result:
        """Everything, from one trace; the parts are timed here."""
        device = task.device.torch_device
        machine = task.machine.read(device)
        limits = ceilings(machine, device, task.precision.torch_dtype, task.machine.remeasure)
        operators = [self._operator_row(operator, machine, limits) for operator in trace.operators]
        for row in operators:
            row["peak"] = row["index"] == trace.peak_operator
        parts = parts_at(placed.module, self.depth, {call.path for call in trace.calls})
        tables = {
            "operators": operators,
            "kinds": kind_rows(operators),
            "modules": module_rows(trace, placed.module),
            "counts": count_rows(trace, placed.module, placed.input),
            "components": part_latencies(placed.step(), parts, self.components_budget_s, device, task.seed),
        }
        attainable_ms = sum(row["attainable_ms"] for row in operators)
        metrics = _roofline(trace, latency_ms, attainable_ms, limits) | _cache_sizes(machine)
        return Result(metrics, tables=tables)

    def _operator_row(self, operator: Operator, machine: Machine, limits: Ceilings) -> Row:
        level = machine.level(operator.working_set_bytes)
        return {
            "index": operator.index,
            "path": operator.path,
            "module_type": operator.module_type,
            "operator": operator.name,
            "input_shapes": " ".join(shape_text(shape) for shape in operator.input_shapes),
            "output_shape": shape_text(operator.output_shape),
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


def _roofline(trace: Trace, latency_ms: float, attainable_ms: float, limits: Ceilings) -> Metrics:
    """What the step attained, and what the machine allows."""
    return {
        "roofline/attained_gflop_s": trace.flops / latency_ms / 1e6,
        "roofline/attained_gb_s": trace.bytes_moved / latency_ms / 1e6,
        "roofline/attainable_ms": attainable_ms,
        "roofline/share": attainable_ms / latency_ms,
        "roofline/peak_gflop_s": limits.peak_flops / 1e9,
        **{f"roofline/bandwidth_{level}_gb_s": value / 1e9 for level, value in limits.bandwidth.items()},
    }


def _cache_sizes(machine: Machine) -> Metrics:
    """The sizes that the levels were told apart by, as far as they are known."""
    names = ("l1_bytes", "l2_bytes", "l3_bytes")
    return {f"machine/{name}": float(size) for name in names if (size := getattr(machine, name)) is not None}


def kind_rows(operators: list[Row]) -> list[Row]:
    """Operators of the same name together, the most FLOPs first."""
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in operators:
        kinds[row["operator"]].append(row)
    found = [
        {
            "operator": name,
            "calls": len(rows),
            "flops": sum(row["flops"] or 0 for row in rows),
            "product_flops": sum(row["product_flops"] for row in rows),
            "bytes_moved": sum(row["working_set_bytes"] for row in rows),
            "counted": int(all(row["flops"] is not None for row in rows)),
        }
        for name, rows in kinds.items()
    ]
    return sorted(found, key=lambda kind: (-kind["flops"], -kind["bytes_moved"]))


def module_rows(trace: Trace, module: nn.Module) -> list[Row]:
    """Every module that ran, in the order of its first call: what happened in it and below it, over all its calls."""
    parameters = {name: parameter_count(child) for name, child in module.named_modules()}
    calls: dict[str, list[ModuleCall]] = defaultdict(list)
    for call in sorted(trace.calls, key=lambda call: (call.first, -call.last)):
        calls[call.path].append(call)
    rows = []
    for path, found in calls.items():
        inside = [operator for call in found for operator in trace.operators[call.first : call.last]]
        rows.append(
            {
                "path": path,
                "module_type": found[0].module_type,
                "calls": len(found),
                "parameters": parameters.get(path, 0),
                "output_shape": shape_text(found[0].output_shape),
                "output_bytes": found[0].output_bytes,
                "flops": sum(operator.flops or 0 for operator in inside),
                "product_flops": sum(operator.product_flops for operator in inside),
                "bytes_moved": sum(operator.working_set_bytes for operator in inside),
                "peak_live_bytes": max((operator.live_after_bytes for operator in inside), default=0),
            }
        )
    return rows


def count_rows(trace: Trace, module: nn.Module, x: Tensor) -> list[Row]:
    """The three counts side by side by the type of the innermost module, and why they differ.

    The types' `macs_thop`, `flops_torch` and `flops_audited` add up to the three metrics.
    """
    types = {name: type(child).__name__ for name, child in module.named_modules()}
    thop: dict[str, float] = defaultdict(float)
    for path, macs in macs_thop_by_module(module, x).items():
        thop[types[path]] += macs
    torch_flops, audited = Counter[str](), Counter[str]()
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


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as tables show it: 1x64x32x32."""
    return "x".join(map(str, shape))
