"""Plots of one point: readable in grey, units on the axes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
LEVEL_STYLES = {"L2": ("o", "#0072b2"), "L3": ("s", "#e69f00"), "memory": ("^", "#333333")}
"""Marker and colour of each cache level; told apart in grey by the marker."""
LINES = {"L2": "-", "L3": "--", "memory": ":"}
HATCHES = {"L2": "", "L3": "//", "memory": "xx"}
MIB = 2**20
MOST_BARS = 60


def roofline(operators: pd.DataFrame, metrics: Mapping[str, float], path: Path) -> None:
    """Every operator by its intensity at the rate that the ceilings allow it, and the step as it was measured."""
    figure, axes = new_figure(7, 4.6)
    counted = operators[operators["intensity"] > 0]
    whole = metrics["flops/audited"] / metrics["memory_bytes/moved"]
    low, high = min([*counted["intensity"], whole]) / 2, max([*counted["intensity"], whole]) * 4
    intensity = np.geomspace(low, high, 200)
    peak = metrics["roofline/peak_gflop_s"]
    for level, style in LINES.items():
        bandwidth = metrics[f"roofline/bandwidth_{level}_gb_s"]
        label = f"{level}: {bandwidth:.3g} GB/s"
        axes.plot(intensity, np.minimum(peak, bandwidth * intensity), style, color="black", linewidth=1, label=label)
    for level, (marker, colour) in LEVEL_STYLES.items():
        those = counted[counted["level"] == level]
        rate = those["flops"] / those["attainable_ms"] / 1e6
        axes.scatter(
            those["intensity"],
            rate,
            marker=marker,
            s=24,
            color=colour,
            alpha=0.7,
            label=f"operators in {level}, at best",
        )
    attained = metrics["roofline/attained_gflop_s"]
    axes.plot(whole, attained, marker="*", markersize=15, color="#d55e00", markeredgecolor="black", linestyle="none")
    axes.annotate("the step, measured", (whole, attained), textcoords="offset points", xytext=(10, -12))
    axes.set(xscale="log", yscale="log", xlabel="arithmetic intensity (FLOPs a byte)", ylabel="GFLOP/s")
    axes.set_title(f"Roofline; peak {peak:.3g} GFLOP/s")
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    _save(figure, path)


def working_sets(operators: pd.DataFrame, metrics: Mapping[str, float], path: Path) -> None:
    """Bytes that every operator touches, in the order of the step, against the cache sizes; hatched by level."""
    moving = operators[operators["working_set_bytes"] > 0]
    figure, axes = new_figure(9, 4.2)
    positions = np.arange(len(moving))
    for level, hatch in HATCHES.items():
        those = (moving["level"] == level).to_numpy()
        heights = moving["working_set_bytes"][those] / MIB
        colour = LEVEL_STYLES[level][1]
        axes.bar(positions[those], heights, color=colour, alpha=0.6, hatch=hatch, edgecolor="black", linewidth=0.3)
    for level, style in (("l2", "--"), ("l3", ":")):
        size = metrics.get(f"machine/{level}_bytes")
        if size is not None:
            axes.axhline(size / MIB, linestyle=style, color="black", linewidth=1)
            place = (1.005, size / MIB)
            text = f"{level.upper()}\n{size / MIB:.3g} MiB"
            axes.annotate(text, place, xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes.set_yscale("log")
    axes.set(xlabel="operator, in the order of the step", ylabel="working set (MiB)", title="Working set by operator")
    if len(moving) <= MOST_BARS:
        names = [
            f"{p} {o}" if isinstance(p, str) else o for p, o in zip(moving["path"], moving["operator"], strict=True)
        ]
        axes.set_xticks(positions, names, rotation=90, fontsize=6)
    axes.margins(x=0.01)
    _save(figure, path)


def breakdown(components: pd.DataFrame, path: Path) -> None:
    """Each part's share of the step, with its interval."""
    shown = components.sort_values("share").tail(MOST_BARS)
    figure, axes = new_figure(7, 1.2 + 0.28 * len(shown))
    errors = 100 * np.abs(
        np.array([shown["share"] - shown["share_ci95_low"], shown["share_ci95_high"] - shown["share"]])
    )
    names = [f"{part} ({kind})" for part, kind in zip(shown["path"], shown["module_type"], strict=True)]
    axes.barh(names, 100 * shown["share"], xerr=errors, color="#9ecae1", edgecolor="black", linewidth=0.5, capsize=2)
    axes.set(xlabel="share of the whole step's latency (%), 95% interval", title="Parts, each on its own inputs")
    axes.tick_params(axis="y", labelsize=8)
    _save(figure, path)


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure that needs no display and leaves no trace in pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DPI)
