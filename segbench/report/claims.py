"""What the notebooks assert, decided by a study's points: confirmed, refuted, or not distinguishable here.

A claim speaks of every setting of the other axes. It is confirmed where all of them show it, refuted where at least
one shows the contrary, and else not distinguishable. Contended or unsteady timings decide nothing. The intervals are
widened for the number of settings, so that a true claim over many of them is refuted by chance in no more than 5% of
the studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segbench.record import disturbed
from segbench.report.evidence import is_larger, is_smaller, quotient
from segbench.report.points import MACHINE, Point
from segbench.report.quantity import Estimate, Quantity, quantity
from segbench.report.rounding import interval, significant
from segbench.report.study import ClaimSpec

CONFIRMED, REFUTED, UNDECIDED, UNANSWERED = "confirmed", "refuted", "not distinguishable", "not answered"
EQUAL_PERCENT = 1.0
"""How far a figure may lie from a value that is claimed to equal it."""
MOST_LISTED = 4


@dataclass(frozen=True)
class Finding:
    """A claim with its verdict, the evidence in words, and in how many settings it was looked at."""

    claim: str
    source: str
    verdict: str
    evidence: str
    settings: int


@dataclass(frozen=True)
class Comparison:
    """One setting: the claimed side's figure over the other's, where on the axes, and whether it was disturbed."""

    place: str
    found: Estimate
    disturbed: bool = False


def findings(specs: Sequence[ClaimSpec], points: Sequence[Point]) -> list[Finding]:
    """Every claim, decided; for each machine apart where there are several."""
    machines = list(dict.fromkeys(point.axes.get(MACHINE) for point in points))
    decided = []
    for spec in specs:
        for machine in machines:
            here = [point for point in points if point.axes.get(MACHINE) == machine]
            found = decide(spec, here)
            if machine is not None:
                found = Finding(
                    f"{found.claim} ({machine})", found.source, found.verdict, found.evidence, found.settings
                )
            decided.append(found)
    return decided


def decide(spec: ClaimSpec, points: Sequence[Point]) -> Finding:
    """One claim against the points of one machine."""
    of = quantity(spec.quantity)
    measured = [point for point in points if point.ok]
    compared = _with_value(spec, of, measured) if spec.than is None else _with_points(spec, of, measured)
    if not compared:
        return Finding(spec.claim, spec.source, UNANSWERED, "the points that it speaks of were not measured", 0)
    calm = [c for c in compared if not c.disturbed]
    holds = [c for c in calm if _holds(spec, c.found)]
    against = [c for c in calm if _contradicts(spec, c.found)]
    if against:
        verdict, shown = REFUTED, against
    elif len(holds) == len(compared):
        verdict, shown = CONFIRMED, holds
    else:
        verdict, shown = UNDECIDED, [c for c in compared if c not in holds]
    return Finding(spec.claim, spec.source, verdict, _evidence(of, spec, shown, len(compared)), len(compared))


def _with_points(spec: ClaimSpec, of: Quantity, points: Sequence[Point]) -> list[Comparison]:
    """Quotients of the points `of` over those `than` that differ from them in nothing else."""
    assert spec.than is not None
    named = {*spec.of, *spec.than}
    pairs = [
        (a, b)
        for a in points
        if a.matches(spec.of)
        for b in points
        if a is not b and b.matches(spec.than) and _elsewhere(a, named) == _elsewhere(b, named)
    ]
    found = [(a, b, quotient(a, b, of, comparisons=len(pairs))) for a, b in pairs]
    several = len({str(b.axes) for _, b in pairs}) > len({str(_elsewhere(b, named)) for _, b in pairs})
    return [
        Comparison(_place(a, b if several else None, named), q, _disturbed(of, a, b))
        for a, b, q in found
        if q is not None
    ]


def _with_value(spec: ClaimSpec, of: Quantity, points: Sequence[Point]) -> list[Comparison]:
    """Quotients of the points `of` over the claimed value."""
    assert spec.value is not None
    found = [(point, of.of(point.record.metrics)) for point in points if point.matches(spec.of)]
    factor = 1 / (spec.value * of.scale)
    return [
        Comparison(_place(point, None, set()), e.scaled(factor), _disturbed(of, point))
        for point, e in found
        if e is not None
    ]


def _disturbed(of: Quantity, *points: Point) -> bool:
    """Whether a timed quantity was contended or unsteady: such a figure decides nothing."""
    return bool(of.power) and any(disturbed(point.record) for point in points)


def _elsewhere(point: Point, named: set[str]) -> dict[str, str]:
    """Its place on all axes but the named ones; presets hold the axes that were split from them."""
    presets = {key for key, value in point.axes.items() if "/" in str(value)}
    return {key: str(value) for key, value in point.axes.items() if key not in named | presets}


def _place(a: Point, b: Point | None, named: set[str]) -> str:
    parts = [f"{key}={value}" for key, value in _elsewhere(a, named).items() if value]
    if b is not None:
        parts.append("than " + " ".join(f"{key}={b.value(key)}" for key in sorted(named)))
    return " ".join(parts)


def _holds(spec: ClaimSpec, found: Estimate) -> bool:
    if spec.expect == "equal":
        return all(abs(bound - 1) <= EQUAL_PERCENT / 100 for bound in found.bounds)
    return is_smaller(found) if spec.expect == "smaller" else is_larger(found)


def _contradicts(spec: ClaimSpec, found: Estimate) -> bool:
    if spec.expect == "equal":
        return all(bound > 1 + EQUAL_PERCENT / 100 for bound in found.bounds) or all(
            bound < 1 - EQUAL_PERCENT / 100 for bound in found.bounds
        )
    if found.low is None:
        return not _holds(spec, found)  # exact: equal is not smaller
    return is_larger(found) if spec.expect == "smaller" else is_smaller(found)


def _evidence(of: Quantity, spec: ClaimSpec, shown: Sequence[Comparison], settings: int) -> str:
    """The quotients that decided, in words."""
    listed = "; ".join(
        f"{_quotient(c.found)}{f' at {c.place}' if c.place else ''}{' (disturbed)' if c.disturbed else ''}"
        for c in shown[:MOST_LISTED]
    )
    more = f"; and {len(shown) - MOST_LISTED} more" if len(shown) > MOST_LISTED else ""
    against = f"the claimed {spec.value:g}" if spec.value is not None else "the other's"
    where = f" in {len(shown)} of {settings} settings" if settings > 1 else ""
    return f"{of.label} over {against}{where}: {listed}{more}"


def _quotient(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return significant(found.value)
    return interval(found.value, found.low, found.high)
