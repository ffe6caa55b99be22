"""How far the nodes of a cluster agree: the same step's latency on each of them, and its ratio to the baseline."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from segbench.measure.result import BASELINE
from segbench.point.record import Record
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


def node_of(record: Record) -> str:
    """The node of a cluster that a record was measured on: its host, and its id where a host has several."""
    found = record.environment
    ray = found.get("ray_node")
    return str(found.get("slurm_node") or found.get("host")) + (f" {ray[:8]}" if ray else "")


def nodes(points: Sequence[Point]) -> Nodes | None:
    """What several nodes measured; `None` where there is one."""
    timings = pd.DataFrame(timing for point in points if point.ok for timing in _timings(point))
    if timings.empty or timings["node"].nunique() < 2:
        return None
    counted = timings.loc[~timings["of_baseline"], "node"].value_counts().sort_index()
    timings = timings.sort_values("of_baseline", kind="stable").astype({"latency": float, "ratio": float})
    groups = timings.dropna(subset="latency").groupby(["of_baseline", "step"], sort=False)
    spreads = pd.DataFrame(_spread(str(step), group) for (_, step), group in groups if group["node"].nunique() > 1)
    points_of = {str(node): int(count) for node, count in counted.items()}
    return Nodes(points_of, _sentence(spreads), plain_table(map(_row, spreads.to_dict("records"))))


def _sentence(spreads: pd.DataFrame) -> str:
    """The worst that was found, or why nothing could be."""
    if spreads.empty:
        return "No step was timed on more than one node: with a baseline, or several seeds, nodes can be compared."
    latency, ratio = spreads["latency"].max(), spreads["ratio"].max()
    text = f"Between nodes, the latency of the same step differs by up to {latency:.1f}%"
    return text + ("." if pd.isna(ratio) else f", its ratio to the baseline by up to {ratio:.1f}%.")


def _row(spread: Mapping[Hashable, Any]) -> dict[str, Any]:
    return {
        "the same step": spread["step"],
        "nodes": spread["nodes"],
        "timings": spread["timings"],
        "latency, %": f"{spread['latency']:.1f}",
        "ratio, %": "" if pd.isna(spread["ratio"]) else f"{spread['ratio']:.1f}",
    }


def _timings(point: Point) -> Iterator[dict[str, Any]]:
    """A point's latency and ratio, and its baseline's latency: every point times its own where it runs."""
    metrics, node = point.record.metrics, node_of(point.record)
    baseline = point.record.config.get("baseline") or {}
    yield {
        "step": _step(point) or "the point",
        "of_baseline": False,
        "node": node,
        "latency": metrics.get(LATENCY.metric),
        "ratio": metrics.get(RATIO.metric),
    }
    if baseline:
        step = f"baseline {in_words(baseline)} {_step(point, *baseline)}".strip()
        latency = metrics.get(BASELINE + LATENCY.metric)
        yield {"step": step, "of_baseline": True, "node": node, "latency": latency, "ratio": None}


def _step(point: Point, *changed: str) -> str:
    """A point's axes, less its seed, its machine and what a baseline changes."""
    left_out = [axis for key in changed for axis in point.axes_of(key)]
    return in_words(point.other_axes(REPLICATES, MACHINE, SWEEP, *left_out))


def _spread(step: str, timings: pd.DataFrame) -> dict[str, Any]:
    """The largest of the nodes' medians over the smallest, less one, in percent."""
    medians = timings.groupby("node")[["latency", "ratio"]].median()
    percent = 100 * (medians.max() / medians.min() - 1)
    return {"step": step, "nodes": len(medians), "timings": len(timings), **percent}
