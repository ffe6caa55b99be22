"""Whether one point's figure is smaller than another's: their quotient, with an interval where they were measured.

Points that were timed beside the same baseline are compared through it, because drift and neighbours cancel there; a
point and its own baseline by the ratio itself. All others are compared by the intervals of their medians, which speak
of one series of calls each and can be too narrow for runs hours apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from scipy import stats

from segbench.report.points import Point
from segbench.report.quantity import QUANTITIES, Estimate, Quantity

RATIO, SPEEDUP, LATENCY = QUANTITIES["ratio"], QUANTITIES["speedup"], QUANTITIES["latency"]
NOMINAL = float(stats.norm.ppf(0.975))


def quotient(a: Point, b: Point, of: Quantity, comparisons: int = 1) -> Estimate | None:
    """`a`'s figure over `b`'s; exact figures give an exact one, `None` where one is missing or not positive.

    With several `comparisons` the interval is widened so that all of them hold together with 95% (Bonferroni).
    """
    found, other = of.of(a.record.metrics), of.of(b.record.metrics)
    if found is None or other is None:
        return None
    if found.low is None or other.low is None:
        return None if of.measured else _exact(found.value, other.value)
    if found.value <= 0 or other.value <= 0:
        return None
    if not of.power:
        return _widened(_over(found, other), comparisons)
    return _widened(_times(a, b, found, other, of), comparisons)


def _exact(a: float, b: float) -> Estimate:
    """The quotient of two counts, which may be zero."""
    if b == 0:
        return Estimate(1.0 if a == 0 else math.inf)
    return Estimate(a / b)


def _times(a: Point, b: Point, found: Estimate, other: Estimate, of: Quantity) -> Estimate:
    """The quotient of two times or rates: the paired one where there is one."""
    latencies = _paired(a, b)
    medians = LATENCY.of(a.record.metrics), LATENCY.of(b.record.metrics)
    if latencies is None or medians[0] is None or medians[1] is None or of in (RATIO, SPEEDUP):
        return _over(found, other)
    rate = (found.value / other.value) / (medians[0].value / medians[1].value) ** of.power
    low, high = sorted(bound**of.power for bound in latencies.bounds)
    return Estimate(rate * latencies.value**of.power, rate * low, rate * high)


def _paired(a: Point, b: Point) -> Estimate | None:
    """The quotient of two latencies through the baseline that both were timed beside."""
    at_a, at_b = baseline_axes(a), baseline_axes(b)
    mine, theirs = RATIO.of(a.record.metrics), RATIO.of(b.record.metrics)
    if mine is not None and at_a == _compared(b):
        return mine
    if theirs is not None and at_b == _compared(a):
        return Estimate(1 / theirs.value, 1 / theirs.bounds[1], 1 / theirs.bounds[0])
    if mine is None or theirs is None or at_a is None or at_a != at_b:
        return None
    return _over(mine, theirs)


def baseline_axes(point: Point) -> Mapping[str, Any] | None:
    """Where on the axes the point's baseline lies; `None` without a baseline."""
    changes = point.record.config.get("baseline")
    if not isinstance(changes, Mapping):
        return None
    return _compared(point) | {key: str(value) for key, value in changes.items()}


def _compared(point: Point) -> dict[str, str]:
    """The axes that overrides can name: those that are parameters, and machine and sweep."""
    named = set(point.record.parameters) | {"machine", "sweep"}
    return {key: str(value) for key, value in point.axes.items() if key in named}


def _over(a: Estimate, b: Estimate) -> Estimate:
    """Quotient of two independent figures; the half-widths of the logarithms add in squares."""
    middle = math.log(a.value / b.value)
    half = math.hypot(_half_width(a), _half_width(b))
    return Estimate(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def _half_width(estimate: Estimate) -> float:
    """Half the interval of the logarithm."""
    low, high = estimate.bounds
    return math.log(high / low) / 2 if low > 0 else math.inf


def _widened(estimate: Estimate, comparisons: int) -> Estimate:
    """The interval at the level that each of several comparisons needs."""
    if comparisons <= 1:
        return estimate
    factor = float(stats.norm.ppf(1 - 0.025 / comparisons)) / NOMINAL
    low, high = (estimate.value * (bound / estimate.value) ** factor for bound in estimate.bounds)
    return Estimate(estimate.value, low, high)


def is_smaller(quotient: Estimate) -> bool:
    """Whether the whole interval lies below 1."""
    return quotient.bounds[1] < 1


def is_larger(quotient: Estimate) -> bool:
    """Whether the whole interval lies above 1."""
    return quotient.bounds[0] > 1
