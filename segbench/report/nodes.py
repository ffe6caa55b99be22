"""How far the nodes of a cluster agree: the same step's latency on each of them, and its ratio to the baseline."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from segbench.measure.result import BASELINE
from segbench.report.points import MACHINE, SWEEP, Point, in_words
from segbench.report.quantity import LATENCY, RATIO
from segbench.report.table import Table, plain_table

REPLICATES = "seed"
"""Points that differ in this alone cost the same."""


@dataclass(frozen=True)
class Nodes:
    """How many points every node measured, and how far the nodes differ in steps that several of them timed."""

    points: dict[str, int]
    sentence: str
    table: Table


def nodes(points: Sequence[Point]) -> Nodes | None:
    """What several nodes measured; `None` where there is one."""
    timings = pd.DataFrame(timing for point in points if point.ok for timing in _timings(point))
    if timings.empty or timings["node"].nunique() < 2:
        return None
    counted = timings.loc[~timings["of_baseline"], "node"].value_counts().sort_index()
    timings = timings.sort_values("of_baseline", kind="stable").dropna(subset="latency")
    timings = timings.astype({"latency": float, "ratio": float})
    by_step = timings.groupby(["of_baseline", "step"], sort=False)
    medians = timings.groupby(["of_baseline", "step", "node"], sort=False)[["latency", "ratio"]].median()
    by_node = medians.groupby(["of_baseline", "step"], sort=False)
    spreads = (100 * (by_node.max() / by_node.min() - 1)).assign(nodes=by_node.size(), timings=by_step.size())
    spreads = spreads[spreads["nodes"] > 1].reset_index()
    rows = (
        {
            "the same step": spread["step"],
            "nodes": spread["nodes"],
            "timings": spread["timings"],
            "latency, %": f"{spread['latency']:.1f}",
            "ratio, %": "" if pd.isna(spread["ratio"]) else f"{spread['ratio']:.1f}",
        }
        for spread in spreads.to_dict("records")
    )
    return Nodes(dict(counted), _sentence(spreads), plain_table(rows))


def _sentence(spreads: pd.DataFrame) -> str:
    """The worst that was found, or why nothing could be."""
    if spreads.empty:
        return "No step was timed on more than one node: with a baseline, or several seeds, nodes can be compared."
    latency, ratio = spreads["latency"].max(), spreads["ratio"].max()
    text = f"Between nodes, the latency of the same step differs by up to {latency:.1f}%"
    return text + ("." if pd.isna(ratio) else f", its ratio to the baseline by up to {ratio:.1f}%.")


def _timings(point: Point) -> Iterator[dict[str, Any]]:
    """A point's latency and ratio, and its baseline's latency: every point times its own where it runs.

    Steps are named by their axes, less the seed, the machine and what a baseline changes.
    """
    metrics, found = point.record.metrics, point.record.environment
    host, ray = str(found.get("slurm_node") or found.get("host")), found.get("ray_node")
    node = f"{host} {ray[:8]}" if ray else host  # a host may have several of Ray's nodes
    step = in_words(point.other_axes(REPLICATES, MACHINE, SWEEP)) or "the point"
    figures = {"latency": metrics.get(LATENCY.metric), "ratio": metrics.get(RATIO.metric)}
    yield {"step": step, "of_baseline": False, "node": node, **figures}
    if baseline := point.record.config.get("baseline"):
        changed = [axis for key in baseline for axis in point.axes_of(key)]
        unchanged = in_words(point.other_axes(REPLICATES, MACHINE, SWEEP, *changed))
        step = f"baseline {in_words(baseline)} {unchanged}".strip()
        figures = {"latency": metrics.get(BASELINE + LATENCY.metric), "ratio": None}
        yield {"step": step, "of_baseline": True, "node": node, **figures}
