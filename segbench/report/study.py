"""What a study reports: tables, plots and claims, as plain data checked key by key.

A study's YAML file holds this under `report`; every record of the study carries it, so that its report can be rebuilt
from the records alone. Nothing in it is ever instantiated or evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

from segbench.checks import one_of
from segbench.report.points import MACHINE, SWEEP, Point
from segbench.report.quantity import QUANTITIES, quantity

Where = Mapping[str, Any]
PLOTS = ("line", "pareto", "bars", "heatmap")
DIRECTIONS = ("smaller", "larger", "equal")


@dataclass(frozen=True)
class TableSpec:
    """A table: points along `rows`, side by side `over` an axis, the `quantities` of each.

    `total` adds their sums below, and quotients of the sums to those of that value of `over`. `exact` names a table of
    the working-set notebook's formulas instead, evaluated at the points' widths and resolutions.
    """

    name: str
    caption: str
    rows: list[str] = field(default_factory=list)
    over: str | None = None
    quantities: list[str] = field(default_factory=list)
    where: Where = field(default_factory=dict)
    total: str | None = None
    exact: str | None = None

    def __post_init__(self) -> None:
        for name in self.quantities:
            quantity(name)


@dataclass(frozen=True)
class PlotSpec:
    """A plot of `y` over `x` (an axis, or a quantity for `pareto`), one series for each value of `by`."""

    name: str
    kind: str
    caption: str
    x: str
    y: str
    by: str | None = None
    where: Where = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        one_of("kind", self.kind, PLOTS)
        quantity(self.y)
        if self.kind == "pareto":
            quantity(self.x)
        for axis in self.log:
            one_of("log", axis, ("x", "y"))


@dataclass(frozen=True)
class ClaimSpec:
    """What a notebook asserts, to be decided.

    Wherever all else is equal, the `quantity` of the points `of` is expected to be smaller or larger than that of the
    points `than`, or than `value`; equal to `value` means within one percent of it.
    """

    claim: str
    source: str
    quantity: str
    of: Where
    expect: str
    than: Where | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        quantity(self.quantity)
        one_of("expect", self.expect, DIRECTIONS)
        if (self.than is None) == (self.value is None):
            raise ValueError(f"claim={self.claim!r} needs either than or value")
        if self.expect == "equal" and self.value is None:
            raise ValueError(f"claim={self.claim!r}: equal needs a value")


@dataclass(frozen=True)
class ReportedSpec:
    """Figures that others published: a CSV file in segbench/report/reported, its quantity, and where it comes from."""

    file: str
    quantity: str
    source: str


@dataclass(frozen=True)
class ReportSpec:
    """A study's report. `compare` is the axis of what is compared; `split` takes presets apart into axes."""

    title: str
    question: str
    compare: str | None = None
    split: Mapping[str, list[str]] = field(default_factory=dict)
    tables: list[TableSpec] = field(default_factory=list)
    plots: list[PlotSpec] = field(default_factory=list)
    claims: list[ClaimSpec] = field(default_factory=list)
    reported: list[ReportedSpec] = field(default_factory=list)


Spec = TypeVar("Spec", ReportSpec, TableSpec, PlotSpec, ClaimSpec, ReportedSpec)


def parse(data: Mapping[str, Any]) -> ReportSpec:
    """The report that a study's `report` key describes. `ValueError` names an unknown or missing key."""
    parts = {"tables": TableSpec, "plots": PlotSpec, "claims": ClaimSpec, "reported": ReportedSpec}
    plain: dict[str, Any] = dict(data)
    for key, kind in parts.items():
        plain[key] = [_parsed(kind, item, f"report.{key}") for item in plain.get(key) or []]
    return _parsed(ReportSpec, plain, "report")


def _parsed(kind: type[Spec], data: Mapping[str, Any], where: str) -> Spec:
    known = {part.name: part for part in fields(kind)}
    for key in data:
        one_of(f"{where} key", key, known)
    needed = [name for name, part in known.items() if part.default is MISSING and part.default_factory is MISSING]
    for name in needed:
        if name not in data:
            raise ValueError(f"{where} needs {name}: it has {', '.join(data) or 'nothing'}")
    return kind(**data)


MOST_PLOTTED = 3
DEFAULT_QUANTITIES = ["parameters", "macs", "peak_activation", "ratio", "latency", "throughput"]


def spec_for(points: Sequence[Point], title: str) -> ReportSpec:
    """A report for a sweep that has none of its own: one table over all axes, and the latency over its numbers."""
    axes = list(points[0].axes)
    numeric = [axis for axis in axes if _is_scale(points, axis)]
    compare = next((axis for axis in axes if axis not in numeric and axis not in (MACHINE, SWEEP)), None)
    measured = [name for name in DEFAULT_QUANTITIES if any(QUANTITIES[name].of(p.record.metrics) for p in points)]
    tables = [TableSpec("points", "All points", rows=axes or ["model"], quantities=measured)]
    plots = [
        PlotSpec(f"latency_over_{axis}", "line", f"Latency over {axis}", axis, "latency", compare, log=["x", "y"])
        for axis in numeric[:MOST_PLOTTED]
    ]
    if compare and any(point.ok for point in points):
        plots.append(PlotSpec("pareto", "pareto", "Parameters against latency", "parameters", "latency", compare))
    return ReportSpec(title, "How do these points compare?", compare, tables=tables, plots=plots)


def _is_scale(points: Sequence[Point], axis: str) -> bool:
    """Whether an axis has three or more positive numbers on it."""
    values = {point.value(axis) for point in points}
    return len(values) > 2 and all(isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in values)
