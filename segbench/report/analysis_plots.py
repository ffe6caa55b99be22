"""Plots of one point's operators and parts: readable in grey, units on the axes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from segbench.report.style import COLOURS, DPI, Look, new_figure

MIB = 2**20
MOST_BARS = 60
LEVELS = {
    "L2": Look(COLOURS[0], "o", "-", ""),
    "L3": Look(COLOURS[1], "s", "--", "//"),
    "memory": Look(COLOURS[7], "^", ":", "xx"),
}
"""How the levels of the memory are drawn."""


def roofline(operators: pd.DataFrame, metrics: Mapping[str, float], path: Path) -> None:
    """Every operator by its intensity at the rate that the ceilings allow it, and the step as it was measured."""
    figure, axes = new_figure(7, 4.6)
    counted = operators[operators["intensity"] > 0]
    whole = metrics["flops/audited"] / metrics["memory_bytes/moved"]
    intensities = [*counted["intensity"], whole]
    intensity = np.geomspace(min(intensities) / 2, max(intensities) * 4, 200)
    peak = metrics["roofline/peak_gflop_s"]
    for level, look in LEVELS.items():
        bandwidth = metrics[f"roofline/bandwidth_{level}_gb_s"]
        roof = np.minimum(peak, bandwidth * intensity)
        axes.plot(intensity, roof, look.line, color="black", linewidth=1, label=f"{level}: {bandwidth:.3g} GB/s")
    for level, look in LEVELS.items():
        those = counted[counted["level"] == level]
        rate = those["flops"] / those["attainable_ms"] / 1e6
        label = f"operators in {level}, at best"
        axes.scatter(those["intensity"], rate, s=24, color=look.colour, marker=look.marker, alpha=0.7, label=label)
    attained = metrics["roofline/attained_gflop_s"]
    axes.plot(whole, attained, marker="*", markersize=15, color=COLOURS[3], markeredgecolor="black", linestyle="none")
    axes.annotate("the step, measured", (whole, attained), textcoords="offset points", xytext=(10, -12))
    axes.set(xscale="log", yscale="log", xlabel="arithmetic intensity (FLOPs a byte)", ylabel="GFLOP/s")
    axes.set_title(f"Roofline; peak {peak:.3g} GFLOP/s")
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    figure.savefig(path, dpi=DPI)


def working_sets(operators: pd.DataFrame, metrics: Mapping[str, float], path: Path) -> None:
    """Bytes that every operator touches, in the order of the step, against the cache sizes; hatched by level."""
    moving = operators[operators["working_set_bytes"] > 0]
    figure, axes = new_figure(9, 4.2)
    positions = np.arange(len(moving))
    for level, look in LEVELS.items():
        those = (moving["level"] == level).to_numpy()
        heights = moving["working_set_bytes"][those] / MIB
        axes.bar(
            positions[those], heights, color=look.colour, hatch=look.hatch, alpha=0.6, edgecolor="black", linewidth=0.3
        )
    for level, line in (("L2", "--"), ("L3", ":")):
        size = metrics.get(f"machine/{level.lower()}_bytes")
        if size is not None:
            axes.axhline(size / MIB, linestyle=line, color="black", linewidth=1)
            label, beside = f"{level}\n{size / MIB:.3g} MiB", ("axes fraction", "data")
            axes.annotate(label, (1.005, size / MIB), xycoords=beside, va="center", fontsize=8)
    axes.set_yscale("log")
    axes.set(xlabel="operator, in the order of the step", ylabel="working set (MiB)", title="Working set by operator")
    if len(moving) <= MOST_BARS:
        names = [f"{path or ''} {name}".strip() for path, name in zip(moving["path"], moving["operator"], strict=True)]
        axes.set_xticks(positions, names, rotation=90, fontsize=6)
    axes.margins(x=0.01)
    figure.savefig(path, dpi=DPI)


def breakdown(components: pd.DataFrame, path: Path) -> None:
    """Each part's share of the step, with its interval."""
    shown = components.sort_values("share").tail(MOST_BARS)
    figure, axes = new_figure(7, 1.2 + 0.28 * len(shown))
    below, above = shown["share"] - shown["share_ci95_low"], shown["share_ci95_high"] - shown["share"]
    names = [f"{part} ({kind})" for part, kind in zip(shown["path"], shown["module_type"], strict=True)]
    reach = 100 * np.abs(np.array([below, above]))
    axes.barh(names, 100 * shown["share"], xerr=reach, color="#9ecae1", edgecolor="black", linewidth=0.5, capsize=2)
    axes.set(xlabel="share of the whole step's latency (%), 95% interval", title="Parts, each on its own inputs")
    axes.tick_params(axis="y", labelsize=8)
    figure.savefig(path, dpi=DPI)
