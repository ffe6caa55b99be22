"""What a study reports: tables, plots and claims, as plain data checked key by key.

A study's YAML file holds this under `report`; every record of the study carries it, so that its report can be rebuilt
from the records alone. Nothing in it is ever instantiated or evaluated.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from segbench.base.checks import one_of
from segbench.base.errors import NotAllowedError
from segbench.report.exact import EXACT_ROWS
from segbench.report.points import MACHINE, SWEEP, Point
from segbench.report.quantity import QUANTITIES


def _file_name(name: str) -> str:
    """Raise where a name could lead out of the report's folder."""
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", name):
        rule = "it must be letters, digits, _ and -, and dots between them, because files are named so"
        raise NotAllowedError("name", name, rule)
    return name


Where = Mapping[str, Any]
"""Values on axes; a list allows any of its own."""
FileName = Annotated[str, AfterValidator(_file_name)]
QuantityName = Annotated[str, AfterValidator(partial(one_of, "quantity", allowed=QUANTITIES))]
ExactName = Annotated[str, AfterValidator(partial(one_of, "exact", allowed=EXACT_ROWS))]
REPORTED_FILES = {path.name: path for path in Path(__file__).with_name("reported").glob("*.csv")}
ReportedFile = Annotated[str, AfterValidator(partial(one_of, "file", allowed=REPORTED_FILES))]
CLOSED = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=CLOSED)
class TableSpec:
    """A table: points along `rows`, side by side `over` an axis, the `quantities` of each.

    `total` adds their sums below, and quotients of the sums to those of that value of `over`. `exact` names a table of
    the working-set notebook's formulas instead, evaluated at the points' widths and resolutions.
    """

    name: FileName
    caption: str
    rows: list[str] = field(default_factory=list)
    over: str | None = None
    quantities: list[QuantityName] = field(default_factory=list)
    where: Where = field(default_factory=dict)
    total: str | None = None
    exact: ExactName | None = None

    def __post_init__(self) -> None:
        if self.exact is None and not (self.rows and self.quantities):
            raise ValueError(f"the table {self.name} needs rows and quantities, or exact")


@dataclass(frozen=True, config=CLOSED)
class PlotSpec:
    """A plot of `y` over `x` (an axis, or a quantity for `pareto`), one series for each value of `by`."""

    name: FileName
    kind: Literal["line", "pareto", "bars", "heatmap"]
    caption: str
    x: str
    y: QuantityName
    by: str | None = None
    where: Where = field(default_factory=dict)
    log: list[Literal["x", "y"]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.kind == "heatmap" and self.by is None:
            raise ValueError(f"the plot {self.name} needs by: a heatmap has an axis down and one across")
        if self.kind == "pareto":
            one_of("quantity", self.x, QUANTITIES)


@dataclass(frozen=True, config=CLOSED)
class ClaimSpec:
    """What a notebook asserts, to be decided.

    The `quantity` of the points `of` is expected to be smaller or larger than that of the points `than`, wherever both
    are alike on all axes that `than` does not name; or than `value`, and equal to it means within one percent. So an
    axis that only `of` names (`of: {block: stm, stage: enc2}`, `than: {block: dw}`) has that value on both sides.
    """

    claim: str
    source: str
    quantity: QuantityName
    of: Where
    expect: Literal["smaller", "larger", "equal"]
    than: Where | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        claimed = QUANTITIES[self.quantity]
        if claimed.measured and not claimed.power:
            raise ValueError(f"quantity={self.quantity} has no interval that a claim could be decided by")
        if (self.than is None) == (self.value is None):
            raise ValueError(f"claim={self.claim!r} needs either than or value")
        if self.expect == "equal" and self.value is None:
            raise ValueError(f"claim={self.claim!r}: equal needs a value")


@dataclass(frozen=True, config=CLOSED)
class ReportedSpec:
    """Figures that others published: a CSV file in segbench/report/reported, its quantity, and where it comes from."""

    file: ReportedFile
    quantity: QuantityName
    source: str


@dataclass(frozen=True, config=CLOSED)
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
        for kind, parts in (("tables", self.tables), ("plots", self.plots)):
            names = [part.name for part in parts]
            if len(set(names)) < len(names):
                raise ValueError(f"report.{kind} has two of the same name: {', '.join(names)}")


PARTS = {"tables": TableSpec, "plots": PlotSpec, "claims": ClaimSpec, "reported": ReportedSpec}


def parse(data: Mapping[str, Any]) -> ReportSpec:
    """The report that a study's `report` key describes. `ValueError` names a wrong key or value and what is allowed."""
    given = {key: value for key, value in data.items() if value is not None}
    try:
        return TypeAdapter(ReportSpec).validate_python(given)
    except ValidationError as error:
        raise ValueError(_sentence(error)) from error


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong: where, what was given, and what is allowed."""
    first = error.errors()[0]
    *above, last = ("report", *first["loc"])
    parent = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in above)[1:]
    key = f"{parent}[{last}]" if isinstance(last, int) else f"{parent}.{last}".removeprefix(".")
    if first["type"] == "missing":
        return f"{parent} needs {last}: it has {', '.join(map(str, first['input'])) or 'nothing'}"
    if first["type"] == "unexpected_keyword_argument":
        kind = PARTS[str(above[1])] if len(above) > 1 else ReportSpec
        return str(NotAllowedError(f"{parent} key", last, f"choose one of {', '.join(f.name for f in fields(kind))}"))
    if "error" in first.get("ctx", {}):
        return f"{first['ctx']['error']} (in {key})"
    rule = re.sub(r" or an instance of \w+$", "", first["msg"]).replace("Input should be", "it must be")
    return str(NotAllowedError(key, first["input"], rule))


MOST_PLOTTED = 3
DEFAULT_QUANTITIES = ["parameters", "macs", "peak_activation", "ratio", "latency", "throughput"]


def spec_for(points: Sequence[Point], title: str) -> ReportSpec:
    """A report for a sweep that has none of its own: one table over all axes, and the latency over its numbers."""
    axes = list(points[0].axes)
    numeric = [axis for axis in axes if _is_scale(points, axis)]
    compare = next((axis for axis in axes if axis not in numeric and axis not in (MACHINE, SWEEP)), None)
    measured = [name for name in DEFAULT_QUANTITIES if any(point.estimate(QUANTITIES[name]) for point in points)]
    tables = [TableSpec("points", "All points", rows=axes or ["model"], quantities=measured or ["latency"])]
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
