"""A study's plots: intervals as bands or bars, units on the axes, readable in grey."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segbench.report.points import Point, values_on
from segbench.report.quantity import QUANTITIES, Quantity
from segbench.report.rounding import significant
from segbench.report.study import PlotSpec
from segbench.report.style import DPI, Look, legend, log_scales, looks, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_TICKS = 12
MOST_LABELLED = 60
"""Points of a Pareto plot that are named; of more, no name could be read."""
BAR_WIDTH = 0.8
WIDEST = 12.0
"""Inches; a wider plot would shrink on the page until nothing could be read."""
MOST_IN_CORNER = 4
"""Series whose legend finds a corner between bars."""
AXIS_LABELS = {
    "resolution": "height and width of the input (pixels)",
    "batch_size": "batch size (images)",
    "prcm.expansion": "expansion ratio of the SE variant",
    "prcm.pool_size": "side of the adaptive pool (cells)",
}
"""Axes with units, where the key alone does not say them."""


@dataclass(frozen=True)
class Plot:
    """A figure with its name and caption."""

    name: str
    caption: str
    figure: "Figure"

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
        shown = [QUANTITIES[spec.y], *([QUANTITIES[spec.x]] if spec.kind == "pareto" else [])]
        chosen = [p for p in points if p.matches(spec.where) and all(p.estimate(each) for each in shown)]
        if len(chosen) > 1:
            made.append(Plot(spec.name, spec.caption, DRAWN[spec.kind](spec, chosen)))
    return made


def _series(spec: PlotSpec, points: Sequence[Point]) -> list[tuple[str, Look, list[Point]]]:
    """Name, look and points of every series: by `by`, and by what else the points differ in but `x`."""
    named: dict[str, list[Point]] = {}
    further = [axis for axis in points[0].other_axes(spec.x, spec.by or "") if len(values_on(points, axis)) > 1]
    for point in points:
        own = [str(point.value(spec.by))] if spec.by else []
        own += [f"{axis}={point.value(axis)}" for axis in further if spec.kind != "pareto"]
        named.setdefault(", ".join(own), []).append(point)
    found = looks(list(named))
    return [(name, found[name], members) for name, members in named.items()]


def _figures(shown: Quantity, points: Sequence[Point]) -> tuple[list[float], NDArray[np.float64]]:
    """The figures in the unit shown, of points that have them; and the low and the high ends of their intervals."""
    found = [shown.shown(estimate) for point in points if (estimate := point.estimate(shown))]
    return [estimate.value for estimate in found], np.array([estimate.bounds for estimate in found]).T


def _line(spec: PlotSpec, points: Sequence[Point]) -> "Figure":
    """`y` over the axis `x`: medians as marks, 95% intervals as bands."""
    figure, axes = new_figure(7, 4.4)
    y = QUANTITIES[spec.y]
    values = values_on(points, spec.x)
    numbers = all(isinstance(value, int | float) for value in values)
    position: Callable[[Any], float] = float if numbers else lambda value: float(values.index(value))
    for name, look, members in _series(spec, points):
        ordered = sorted(members, key=lambda point: position(point.value(spec.x)))
        xs, (ys, bounds) = [position(point.value(spec.x)) for point in ordered], _figures(y, ordered)
        axes.plot(xs, ys, look.line, color=look.colour, marker=look.marker, label=name or y.label)
        axes.fill_between(xs, *bounds, color=look.colour, alpha=0.25, linewidth=0)
    log_scales(axes, [name for name in spec.log if numbers or name == "y"])
    if numbers and len(values) <= MOST_TICKS:
        axes.set_xticks(sorted(float(value) for value in values), [f"{value:g}" for value in sorted(values)])
        axes.minorticks_off()
    elif not numbers:
        axes.set_xticks(range(len(values)), [str(value) for value in values])
    if "y" not in spec.log:
        axes.set_ylim(bottom=0)  # a cut axis makes small differences look large
    axes.set(xlabel=AXIS_LABELS.get(spec.x, spec.x), ylabel=y.title)
    legend(axes)
    return figure


def _pareto(spec: PlotSpec, points: Sequence[Point]) -> "Figure":
    """`y` against the quantity `x`; a line joins the points that no other beats in both."""
    figure, axes = new_figure(7, 4.6)
    x, y = QUANTITIES[spec.x], QUANTITIES[spec.y]
    drawn: dict[str, Any] = {"markeredgecolor": "black", "markeredgewidth": 0.5, "capsize": 2}
    for name, look, members in _series(spec, points):
        xs, (ys, bounds) = _figures(x, members)[0], _figures(y, members)
        axes.errorbar(xs, ys, np.abs(bounds - ys), fmt=look.marker, color=look.colour, label=name, **drawn)
        for point, at_x, at_y in zip(members, xs, ys, strict=True) if len(points) <= MOST_LABELLED else ():
            label = " ".join(point.other_axes(spec.by or "").values())
            axes.annotate(label, (at_x, at_y), textcoords="offset points", xytext=(5, 4), fontsize=7)
    both = list(zip(_figures(x, points)[0], _figures(y, points)[0], strict=True))
    front = pareto_front(both, bool(x.lower_is_better), bool(y.lower_is_better))
    axes.plot(*zip(*front, strict=True), color="black", linewidth=0.8, linestyle=":", label="Pareto front", zorder=0)
    log_scales(axes, spec.log)
    axes.set(xlabel=x.title, ylabel=y.title)
    legend(axes)
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


def _bars(spec: PlotSpec, points: Sequence[Point]) -> "Figure":
    """`y` for every value of `x`, bars of the series `by` side by side, 95% intervals on top."""
    y = QUANTITIES[spec.y]
    series = _series(spec, points)
    one_each = len(values_on(points, spec.x)) == len(points)  # full width, a series beside the next
    values = values_on([point for *_, members in series for point in members] if one_each else points, spec.x)
    beside = 1 if one_each else len(series)
    figure, axes = new_figure(min(WIDEST, max(6.0, 1.5 + 0.25 * len(values) * beside)), 4.8)
    width = BAR_WIDTH / beside
    edges: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.4, "capsize": 1.5, "error_kw": {"linewidth": 0.8}}
    for index, (name, look, members) in enumerate(series):
        ys, bounds = _figures(y, members)
        shift = 0.0 if one_each else (index - (beside - 1) / 2) * width
        positions = [values.index(point.value(spec.x)) + shift for point in members]
        own: dict[str, Any] = {"color": look.colour, "hatch": look.hatch, "label": name or y.label, "alpha": 0.75}
        axes.bar(positions, ys, width, yerr=np.abs(bounds - ys), **own, **edges)
    if spec.y in ("ratio", "speedup"):
        axes.axhline(1, color="black", linewidth=0.8, linestyle="--")
    steep = len(values) > 4
    names = [str(value) for value in values]
    axes.set_xticks(range(len(values)), names, rotation=60 if steep else 0, ha="right" if steep else "center")
    log_scales(axes, [name for name in spec.log if name == "y"])
    axes.set(xlabel=AXIS_LABELS.get(spec.x, spec.x), ylabel=y.title)
    axes.margins(x=0.01)
    legend(axes, outside=len(series) > MOST_IN_CORNER)
    return figure


def _heatmap(spec: PlotSpec, points: Sequence[Point]) -> "Figure":
    """`y` in every cell of `by` (down) and `x` (across), written into it; colours by its logarithm where it has one."""
    from matplotlib.colors import LogNorm, Normalize

    y, by = QUANTITIES[spec.y], str(spec.by)
    down, across = values_on(points, by), values_on(points, spec.x)
    grid = np.full((len(down), len(across)), np.nan)
    for point, value in zip(points, _figures(y, points)[0], strict=True):
        grid[down.index(point.value(by)), across.index(point.value(spec.x))] = value
    figure, axes = new_figure(2.8 + 1.0 * len(across), 1.4 + 0.3 * len(down))
    low, high = float(np.nanmin(grid)), float(np.nanmax(grid))
    norm = LogNorm(low, high) if low > 0 else Normalize(low, high)
    bar = figure.colorbar(axes.imshow(grid, norm=norm, cmap="cividis", aspect="auto"), ax=axes, label=y.title)
    for (row, column), value in np.ndenumerate(grid):
        colour = "black" if norm(value) > 0.5 else "white"
        text = "" if np.isnan(value) else significant(float(value), 3)
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(across)), [str(value) for value in across])
    axes.set_yticks(range(len(down)), [str(value) for value in down])
    ticks = [float(norm.inverse(share)) for share in np.linspace(0, 1, 5)]
    bar.set_ticks(ticks, labels=[significant(tick, 3) for tick in ticks])
    bar.ax.minorticks_off()
    axes.set(xlabel=AXIS_LABELS.get(spec.x, spec.x), ylabel=AXIS_LABELS.get(by, by))
    return figure


DRAWN = {"line": _line, "pareto": _pareto, "bars": _bars, "heatmap": _heatmap}
