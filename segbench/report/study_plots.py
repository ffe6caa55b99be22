"""A study's plots: intervals as bands or bars, units on the axes, readable in grey."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segbench.report.plots import DPI, new_figure
from segbench.report.points import Point, values_on
from segbench.report.quantity import Estimate, Quantity, quantity
from segbench.report.rounding import significant
from segbench.report.study import PlotSpec
from segbench.report.style import Look, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TICKS = 12
MOST_LABELLED = 60
"""Points of a Pareto plot that are named; of more, no name could be read."""
BAR_WIDTH = 0.8
WIDEST = 12.0
"""Inches; a wider plot would shrink on the page until nothing could be read."""
MOST_IN_CORNER = 4
"""Series whose legend finds a corner between bars."""


@dataclass(frozen=True)
class Plot:
    """A figure with its name and caption."""

    name: str
    caption: str
    figure: Figure

    def save(self, folder: Path) -> None:
        """Write it as PNG and as PDF; the PDF carries no date, so that equal plots are equal files."""
        self.figure.savefig(folder / f"{self.name}.png", dpi=DPI)
        self.figure.savefig(folder / f"{self.name}.pdf", metadata={"CreationDate": None})

    def png(self) -> str:
        """The picture in base64, to stand in a page."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=DPI)
        return base64.b64encode(buffer.getvalue()).decode()


def plots(specs: Sequence[PlotSpec], points: Sequence[Point]) -> list[Plot]:
    """The plots that have at least two points to show."""
    made = []
    for spec in specs:
        chosen = [p for p in points if p.ok and p.matches(spec.where) and quantity(spec.y).of(p.record.metrics)]
        if len(chosen) > 1:
            made.append(Plot(spec.name, spec.caption, DRAWN[spec.kind](spec, chosen)))
    return made


def _series(spec: PlotSpec, points: Sequence[Point]) -> list[tuple[str, Look, list[Point]]]:
    """Name, look and points of every series: by `by`, and by what else the points differ in but `x`."""
    named: dict[str, list[Point]] = {}
    further = [a for a in points[0].axes if a not in (spec.x, spec.by) and len(values_on(points, a)) > 1]
    for point in points:
        own = [str(point.value(spec.by))] if spec.by else []
        own += [f"{axis}={point.value(axis)}" for axis in further if spec.kind != "pareto" and not _preset(point, axis)]
        named.setdefault(", ".join(own), []).append(point)
    found = looks(list(named))
    return [(name, found[name], members) for name, members in named.items()]


def _preset(point: Point, axis: str) -> bool:
    """Whether an axis is one that others were split from."""
    return axis in point.presets


def _line(spec: PlotSpec, points: Sequence[Point]) -> Figure:
    """`y` over the axis `x`: medians as marks, 95% intervals as bands."""
    figure, axes = new_figure(7, 4.4)
    y = quantity(spec.y)
    values = values_on(points, spec.x)
    numbers = all(isinstance(value, int | float) for value in values)
    place: Callable[[Any], float] = float if numbers else lambda value: float(values.index(value))
    for name, look, members in _series(spec, points):
        ordered = sorted(members, key=lambda point: place(point.value(spec.x)))
        xs = [place(point.value(spec.x)) for point in ordered]
        found = _figures(y, ordered)
        low, high = (np.array([estimate.bounds[end] for estimate in found]) for end in (0, 1))
        axes.plot(xs, [e.value for e in found], look.line, color=look.colour, marker=look.marker, label=name or y.label)
        axes.fill_between(xs, low, high, color=look.colour, alpha=0.25, linewidth=0)
    _scales(axes, spec, numbers)
    if numbers and len(values) <= MOST_TICKS:
        axes.set_xticks(sorted(float(value) for value in values), [f"{value:g}" for value in sorted(values)])
        axes.minorticks_off()
    elif not numbers:
        axes.set_xticks(range(len(values)), [str(value) for value in values])
    _from_zero(axes, spec)
    axes.set(xlabel=AXIS_LABELS.get(spec.x, spec.x), ylabel=y.title)
    _legend(axes)
    return figure


def _pareto(spec: PlotSpec, points: Sequence[Point]) -> Figure:
    """`y` against the quantity `x`; a line joins the points that no other beats in both."""
    figure, axes = new_figure(7, 4.6)
    x, y = quantity(spec.x), quantity(spec.y)
    both = [point for point in points if x.of(point.record.metrics)]
    if spec.by:
        names = {id(point): " ".join(_label(point, axis) for axis in point.axes if axis != spec.by) for point in both}
    else:
        names = {id(point): " ".join(str(value) for value in point.axes.values()) for point in both}
    for name, look, members in _series(spec, both):
        xs, ys = _figures(x, members), _figures(y, members)
        errors = np.abs(np.array([[e.value - e.bounds[0] for e in ys], [e.bounds[1] - e.value for e in ys]]))
        axes.errorbar(
            [e.value for e in xs],
            [e.value for e in ys],
            yerr=errors,
            fmt=look.marker,
            color=look.colour,
            markeredgecolor="black",
            markeredgewidth=0.5,
            capsize=2,
            label=name,
        )
        for point, at, up in zip(members, xs, ys, strict=True) if len(both) <= MOST_LABELLED else ():
            axes.annotate(names[id(point)], (at.value, up.value), textcoords="offset points", xytext=(5, 4), fontsize=7)
    front = pareto_front(
        [(e.value, f.value) for e, f in zip(_figures(x, both), _figures(y, both), strict=True)],
        bool(x.lower_is_better),
        bool(y.lower_is_better),
    )
    axes.plot(*zip(*front, strict=True), color="black", linewidth=0.8, linestyle=":", label="Pareto front", zorder=0)
    _scales(axes, spec, True)
    axes.set(xlabel=x.title, ylabel=y.title)
    _legend(axes)
    return figure


def pareto_front(
    points: Sequence[tuple[float, float]], lower_x: bool = True, lower_y: bool = True
) -> list[tuple[float, float]]:
    """The points that none other beats in one figure without losing in the other, from left to right."""
    sign_x, sign_y = (1 if lower_x else -1), (1 if lower_y else -1)
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points), key=lambda point: (sign_x * point[0], sign_y * point[1])):
        if not front or sign_y * y < sign_y * front[-1][1]:
            front.append((x, y))
    return sorted(front)


def _bars(spec: PlotSpec, points: Sequence[Point]) -> Figure:
    """`y` for every value of `x`, bars of the series `by` side by side, 95% intervals on top."""
    y = quantity(spec.y)
    series = _series(spec, points)
    alone = len(values_on(points, spec.x)) == len(points)  # one bar a value: full width, a series beside the next
    values = values_on([point for *_, members in series for point in members] if alone else points, spec.x)
    beside = 1 if alone else len(series)
    figure, axes = new_figure(min(WIDEST, max(6.0, 1.5 + 0.25 * len(values) * beside)), 4.8)
    width = BAR_WIDTH / beside
    for index, (name, look, members) in enumerate(series):
        found = _figures(y, members)
        shift = 0.0 if alone else (index - (beside - 1) / 2) * width
        places = [values.index(point.value(spec.x)) + shift for point in members]
        errors = np.abs(np.array([[e.value - e.bounds[0] for e in found], [e.bounds[1] - e.value for e in found]]))
        axes.bar(
            places,
            [e.value for e in found],
            width,
            yerr=errors,
            color=look.colour,
            alpha=0.75,
            hatch=look.hatch,
            edgecolor="black",
            linewidth=0.4,
            capsize=1.5,
            label=name or y.label,
            error_kw={"linewidth": 0.8},
        )
    if spec.y in ("ratio", "speedup"):
        axes.axhline(1, color="black", linewidth=0.8, linestyle="--")
    steep = len(values) > 4
    names = [str(value) for value in values]
    axes.set_xticks(range(len(values)), names, rotation=60 if steep else 0, ha="right" if steep else "center")
    _scales(axes, spec, False)
    axes.set(xlabel=AXIS_LABELS.get(spec.x, spec.x), ylabel=y.title)
    axes.margins(x=0.01)
    _legend(axes, outside=len(series) > MOST_IN_CORNER)
    return figure


def _heatmap(spec: PlotSpec, points: Sequence[Point]) -> Figure:
    """`y` in every cell of `by` (down) and `x` (across), written into it."""
    assert spec.by is not None
    y = quantity(spec.y)
    down, across = values_on(points, spec.by), values_on(points, spec.x)
    grid = np.full((len(down), len(across)), np.nan)
    for point, found in zip(points, _figures(y, points), strict=True):
        grid[down.index(point.value(spec.by)), across.index(point.value(spec.x))] = found.value
    figure, axes = new_figure(2.8 + 1.0 * len(across), 1.4 + 0.3 * len(down))
    image = axes.imshow(np.log(grid), cmap="cividis", aspect="auto")
    middle = (np.nanmin(np.log(grid)) + np.nanmax(np.log(grid))) / 2
    for (row, column), value in np.ndenumerate(grid):
        if not math.isnan(value):
            colour = "black" if math.log(value) > middle else "white"
            axes.text(column, row, significant(float(value), 3), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(across)), [str(value) for value in across])
    axes.set_yticks(range(len(down)), [str(value) for value in down])
    bar = figure.colorbar(image, ax=axes, label=y.title)
    ticks = np.linspace(np.nanmin(np.log(grid)), np.nanmax(np.log(grid)), 5)
    bar.set_ticks(list(ticks), labels=[significant(float(np.exp(tick)), 3) for tick in ticks])
    axes.set(xlabel=AXIS_LABELS.get(spec.x, spec.x), ylabel=AXIS_LABELS.get(spec.by, spec.by))
    return figure


DRAWN = {"line": _line, "pareto": _pareto, "bars": _bars, "heatmap": _heatmap}
AXIS_LABELS = {
    "channels": "channels",
    "resolution": "height and width of the input (pixels)",
    "batch_size": "batch size (images)",
    "prcm.expansion": "expansion ratio of the SE variant",
    "prcm.pool_size": "side of the adaptive pool (cells)",
}
"""Axes with units, where the key alone does not say them."""


def _figures(of: Quantity, points: Sequence[Point]) -> list[Estimate]:
    """The figures in the unit shown, of points that have them."""
    found = [of.of(point.record.metrics) for point in points]
    return [of.shown(estimate) for estimate in found if estimate is not None]


def _label(point: Point, axis: str) -> str:
    return "" if _preset(point, axis) else str(point.value(axis))


def _scales(axes: Axes, spec: PlotSpec, numbers: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if name in spec.log and (numbers or name == "y"):
            (axes.set_xscale if name == "x" else axes.set_yscale)("log")
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # powers of ten alone leave short axes bare
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
            axis.set_minor_formatter(NullFormatter())


def _from_zero(axes: Axes, spec: PlotSpec) -> None:
    """A linear latency axis starts at zero: a cut one makes small differences look large."""
    if "y" not in spec.log:
        axes.set_ylim(bottom=0)


def _legend(axes: Axes, outside: bool = False) -> None:
    if len(axes.get_legend_handles_labels()[0]) <= 1:
        return
    if outside:
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        axes.legend(fontsize=8, frameon=False)
