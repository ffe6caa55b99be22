"""What a study reports: tables, plots and claims, as plain data checked key by key.

A study's YAML file holds this under `report`; every record of the study carries it, so that its report can be rebuilt
from the records alone. Nothing in it is ever instantiated or evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from segbench.base.checks import one_of
from segbench.report.exact import TABLES
from segbench.report.points import MACHINE, SWEEP, Point
from segbench.report.quantity import QUANTITIES, quantity

Where = Mapping[str, Any]
REPORTED_FOLDER = Path(__file__).with_name("reported")
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
        _file_name(self.name)
        _texts("rows", self.rows)
        _mapping("where", self.where)
        for name in _texts("quantities", self.quantities):
            quantity(name)
        if self.exact is not None:
            one_of("exact", self.exact, TABLES)
        elif not self.rows or not self.quantities:
            raise ValueError(f"the table {self.name} needs rows and quantities, or exact")


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
        _file_name(self.name)
        _mapping("where", self.where)
        one_of("kind", self.kind, PLOTS)
        if self.kind == "heatmap" and self.by is None:
            raise ValueError(f"the plot {self.name} needs by: a heatmap has an axis down and one across")
        quantity(self.y)
        if self.kind == "pareto":
            quantity(self.x)
        for axis in _texts("log", self.log):
            one_of("log", axis, ("x", "y"))


@dataclass(frozen=True)
class ClaimSpec:
    """What a notebook asserts, to be decided.

    Wherever all else is equal, the `quantity` of the points `of` is expected to be smaller or larger than that of the
    points `than`, or than `value`; equal to `value` means within one percent of it. All else is equal: an axis that
    `of` names and `than` does not narrows both.
    """

    claim: str
    source: str
    quantity: str
    of: Where
    expect: str
    than: Where | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        _mapping("of", self.of)
        if self.than is not None:
            _mapping("than", self.than)
        if quantity(self.quantity).measured and not quantity(self.quantity).power:
            raise ValueError(f"quantity={self.quantity} has no interval that a claim could be decided by")
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

    def __post_init__(self) -> None:
        quantity(self.quantity)
        one_of("file", self.file, sorted(path.name for path in REPORTED_FOLDER.glob("*.csv")))


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

    def __post_init__(self) -> None:
        _mapping("split", self.split)
        for kind, parts in (("tables", self.tables), ("plots", self.plots)):
            names = [part.name for part in parts]
            if len(set(names)) < len(names):
                raise ValueError(f"report.{kind} has two of the same name: {', '.join(names)}")


def _file_name(name: object) -> None:
    """Raise `ValueError` where a name could lead out of the report's folder."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"name={name} is not allowed: it must be letters, digits, _ and -, because files are named so")


def _texts(key: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key}={value} is not allowed: it must be a list of names")
    return value


def _mapping(key: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"{key}={value} is not allowed: it must be a mapping, like {{block: dw}}")


Spec = TypeVar("Spec", ReportSpec, TableSpec, PlotSpec, ClaimSpec, ReportedSpec)


def parse(data: Mapping[str, Any]) -> ReportSpec:
    """The report that a study's `report` key describes. `ValueError` names an unknown or missing key."""
    parts = {"tables": TableSpec, "plots": PlotSpec, "claims": ClaimSpec, "reported": ReportedSpec}
    plain: dict[str, Any] = dict(data)
    for key, kind in parts.items():
        listed = plain.get(key) or []
        if not isinstance(listed, list):
            raise ValueError(f"report.{key} must be a list, and is a {type(listed).__name__}")
        plain[key] = [_parsed(kind, item, f"report.{key}") for item in listed]
    return _parsed(ReportSpec, plain, "report")


def _parsed(kind: type[Spec], data: Mapping[str, Any], where: str) -> Spec:
    known = {part.name: part for part in fields(kind)}
    _mapping(where, data)
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
