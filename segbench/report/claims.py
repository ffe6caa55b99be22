"""What the notebooks assert, decided by a study's points: confirmed, refuted, or not distinguishable here.

A claim speaks of every setting of the other axes. It is confirmed where all of them show it, in part where some of what
it names was not measured, refuted where at least one shows the contrary, and else not distinguishable. Contended or
unsteady timings decide nothing. The intervals are widened for the number of settings, so that a true claim over many of
them is refuted by chance in no more than 5% of the studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segbench.point.record import disturbed
from segbench.report.evidence import is_larger, is_smaller, quotient
from segbench.report.points import MACHINE, Point
from segbench.report.quantity import Estimate, Quantity, quantity
from segbench.report.rounding import interval, significant
from segbench.report.study import ClaimSpec, Where

CONFIRMED, REFUTED, UNDECIDED = "confirmed", "refuted", "not distinguishable"
IN_PART, UNANSWERED = "confirmed in part", "not answered"
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
    compared, lacking = _with_value(spec, of, points) if spec.than is None else _with_points(spec, of, points)
    if not compared:
        return Finding(spec.claim, spec.source, UNANSWERED, "the points that it speaks of were not measured", 0)
    calm = [c for c in compared if not c.disturbed]
    holds = [c for c in calm if _holds(spec, c.found)]
    against = [c for c in calm if _contradicts(spec, c.found)]
    if against:
        verdict, shown = REFUTED, against
    elif len(holds) == len(compared):
        verdict, shown = IN_PART if lacking else CONFIRMED, holds
    else:
        verdict, shown = UNDECIDED, [c for c in compared if c not in holds]
    evidence = _evidence(of, spec, shown, len(compared)) + (f"; not measured: {', '.join(lacking)}" if lacking else "")
    return Finding(spec.claim, spec.source, verdict, evidence, len(compared))


def _unnamed(where: Where, points: Sequence[Point]) -> list[str]:
    """The values of a list in `where` that no point has."""
    return [
        f"{key}={value}"
        for key, values in where.items()
        for value in (values if isinstance(values, list) else [values])
        if not any(str(point.value(key)) == str(value) for point in points)
    ]


def _with_points(spec: ClaimSpec, of: Quantity, points: Sequence[Point]) -> tuple[list[Comparison], list[str]]:
    """Quotients of the points `of` over those `than` that are alike in all else, and what was not measured."""
    assert spec.than is not None
    named = set(spec.than)  # what `of` names beyond that narrows the settings, on both sides
    pairs = [
        (a, b)
        for a in points
        if a.matches(spec.of)
        for b in points
        if a is not b and b.matches(spec.than) and _elsewhere(a, named) == _elsewhere(b, named)
    ]
    found = [(a, b, quotient(a, b, of, len(pairs)) if a.ok and b.ok else None) for a, b in pairs]
    several = len({str(b.axes) for _, b in pairs}) > len({str(_elsewhere(b, named)) for _, b in pairs})
    lacking = [*_unnamed(spec.of, points), *_unnamed(spec.than, points)]
    lacking += [_place(a, b, named) for a, b, q in found if q is None]
    return [
        Comparison(_place(a, b if several else None, named), q, _disturbed(of, a, b))
        for a, b, q in found
        if q is not None
    ], lacking


def _with_value(spec: ClaimSpec, of: Quantity, points: Sequence[Point]) -> tuple[list[Comparison], list[str]]:
    """Quotients of the points `of` over the claimed value, and what was not measured."""
    assert spec.value is not None
    spoken_of = [point for point in points if point.matches(spec.of)]
    found = [(point, of.of(point.record.metrics) if point.ok else None) for point in spoken_of]
    factor = 1 / (spec.value * of.scale)
    return [
        Comparison(_place(point, None, set()), e.scaled(factor), _disturbed(of, point))
        for point, e in found
        if e is not None
    ], [*_unnamed(spec.of, points), *(_place(point, None, set()) for point, e in found if e is None)]


def _disturbed(of: Quantity, *points: Point) -> bool:
    """Whether a timed quantity was contended or unsteady: such a figure decides nothing."""
    return bool(of.power) and any(disturbed(point.record) for point in points)


def _elsewhere(point: Point, named: set[str]) -> dict[str, str]:
    """Its place on all axes but the named ones; presets hold the axes that were split from them."""
    return {key: str(value) for key, value in point.axes.items() if key not in named | point.presets}


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
