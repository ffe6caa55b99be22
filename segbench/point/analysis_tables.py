"""Tables of `analysis=full` from a traced step: kinds of operators, modules, and the three counts side by side."""

from collections import defaultdict

from torch import Tensor, nn

from segbench.measure.macs_thop import macs_thop_by_module
from segbench.measure.operators import Trace
from segbench.measure.result import Row


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
                "output_shape": shape_text(call.output_shape),
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


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as tables show it: 1x64x32x32."""
    return "x".join(map(str, shape))
