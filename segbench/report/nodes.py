"""How far the nodes of a cluster agree: the same step's latency on each of them, and its ratio to the baseline."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from segbench.measure.result import BASELINE
from segbench.point.record import Record
from segbench.report.points import Point

LATENCY, RATIO = "latency_ms/median", "ratio_to_baseline/median"
REPLICATES = "seed"
"""Points that differ in this alone cost the same."""


@dataclass(frozen=True)
class Spread:
    """What one step gave on several nodes: the largest value over the smallest, less one, in percent."""

    step: str
    nodes: int
    timings: int
    latency_percent: float
    ratio_percent: float | None


@dataclass(frozen=True)
class Nodes:
    """How many points every node measured, and how far the nodes differ in steps that several of them timed."""

    points: dict[str, int]
    spreads: list[Spread]

    @property
    def sentence(self) -> str:
        """The worst that was found, or why nothing could be."""
        if not self.spreads:
            return "No step was timed on more than one node: with a baseline, or several seeds, nodes can be compared."
        latency = max(spread.latency_percent for spread in self.spreads)
        ratios = [spread.ratio_percent for spread in self.spreads if spread.ratio_percent is not None]
        text = f"Between nodes, the latency of the same step differs by up to {latency:.1f}%"
        return text + (f", its ratio to the baseline by up to {max(ratios):.1f}%." if ratios else ".")


def node_of(record: Record) -> str:
    """The node of a cluster that a record was measured on: its host, and its id where a host has several."""
    found = record.environment
    ray = found.get("ray_node")
    return str(found.get("slurm_node") or found.get("host")) + (f" {ray[:8]}" if ray else "")


def nodes(points: Sequence[Point]) -> Nodes | None:
    """What several nodes measured; `None` where there is one."""
    measured = [point for point in points if point.ok]
    names = [node_of(point.record) for point in measured]
    if len(set(names)) < 2:
        return None
    counted = {name: names.count(name) for name in sorted(set(names))}
    return Nodes(counted, [*_of_points(measured), *_of_baselines(measured)])


def _of_points(points: Sequence[Point]) -> Iterator[Spread]:
    """Points that are the same but for their seeds."""
    groups: defaultdict[str, list[Point]] = defaultdict(list)
    for point in points:
        groups[_words(point, without=())].append(point)
    for step, members in groups.items():
        ratio = _between(members, RATIO) if all(RATIO in point.record.metrics for point in members) else None
        yield from _spread(step or "the point", members, LATENCY, ratio)


def _of_baselines(points: Sequence[Point]) -> Iterator[Spread]:
    """Baselines that are the same: every point times its own where it runs."""
    groups: defaultdict[str, list[Point]] = defaultdict(list)
    for point in points:
        if changed := point.record.config.get("baseline"):
            baseline = " ".join(f"{key}={value}" for key, value in changed.items())
            groups[f"baseline {baseline} {_words(point, tuple(changed))}".strip()].append(point)
    for step, members in groups.items():
        yield from _spread(step, members, BASELINE + LATENCY, None)


def _spread(step: str, points: Sequence[Point], metric: str, ratio: float | None) -> Iterator[Spread]:
    count = len({node_of(point.record) for point in points})
    if count > 1 and all(metric in point.record.metrics for point in points):
        yield Spread(step, count, len(points), _between(points, metric), ratio)


def _between(points: Sequence[Point], metric: str) -> float:
    """The largest of the nodes' medians over the smallest, less one, in percent."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for point in points:
        values[node_of(point.record)].append(point.record.metrics[metric])
    medians = [statistics.median(found) for found in values.values()]
    return 100 * (max(medians) / min(medians) - 1)


def _words(point: Point, without: Sequence[str]) -> str:
    """A point's axes, less its seed, its machine and what a baseline changes."""
    left_out = (REPLICATES, "machine", "sweep", *without)
    axes = {key: value for key, value in point.axes.items() if value != "" and key not in left_out}
    kept = {key: value for key, value in axes.items() if not key.startswith(tuple(f"{name}." for name in without))}
    return " ".join(f"{key}={value}" for key, value in kept.items())
