"""Whether one point's figure is smaller than another's: their quotient, with an interval where they were measured.

Points that were timed beside the same baseline are compared through it, because drift and neighbours cancel there; a
point and its own baseline by the ratio itself. All others are compared by the intervals of their medians, which speak
of one series of calls each and can be too narrow for runs hours apart.
"""

from collections.abc import Mapping

from segbench.report.estimate import Estimate
from segbench.report.points import MACHINE, SWEEP, Point
from segbench.report.quantity import LATENCY, RATIO, SPEEDUP, Quantity


def quotient(a: Point, b: Point, quantity: Quantity, comparisons: int = 1) -> Estimate | None:
    """`a`'s figure over `b`'s; exact figures give an exact one, `None` where one is missing or not positive.

    With several `comparisons` the interval is widened so that all of them hold together with 95% (Bonferroni).
    """
    found, other = a.estimate(quantity), b.estimate(quantity)
    if found is None or other is None:
        return None
    if found.is_exact or other.is_exact:
        return None if quantity.measured else found.over(other)
    if found.value <= 0 or other.value <= 0:
        return None
    over, mine, theirs = found.over(other), a.estimate(LATENCY), b.estimate(LATENCY)
    paired = _paired(a, b) if quantity.power and quantity not in (RATIO, SPEEDUP) else None
    if paired and mine and theirs:
        beyond_latency = (found.value / other.value) / (mine.value / theirs.value) ** quantity.power
        over = (paired if quantity.power > 0 else paired.inverse()).scaled(beyond_latency)
    return over.widened(comparisons)


def _paired(a: Point, b: Point) -> Estimate | None:
    """The quotient of two latencies through the baseline that both were timed beside."""
    mine, theirs = a.estimate(RATIO), b.estimate(RATIO)
    baseline_of_a, baseline_of_b = _baseline(a), _baseline(b)
    if mine and baseline_of_a == _settable(b):
        return mine
    if theirs and baseline_of_b == _settable(a):
        return theirs.inverse()
    same = baseline_of_a is not None and baseline_of_a == baseline_of_b
    return mine.over(theirs) if mine and theirs and same else None


def _baseline(point: Point) -> dict[str, str] | None:
    """The values of the point's baseline on its axes; `None` without a baseline."""
    changes = point.record.config.get("baseline")
    return _settable(point) | {k: str(v) for k, v in changes.items()} if isinstance(changes, Mapping) else None


def _settable(point: Point) -> dict[str, str]:
    """The axes that overrides can set, which are parameters, and the machine and the sweep."""
    named = {*point.record.parameters, MACHINE, SWEEP}
    return {axis: str(value) for axis, value in point.axes.items() if axis in named}
