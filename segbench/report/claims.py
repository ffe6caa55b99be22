"""What the notebooks assert, decided by a study's points: confirmed, refuted, or not distinguishable here.

A claim speaks of every setting of the other axes. It is confirmed where all of them show it, in part where some of what
it names was not measured, refuted where at least one shows the contrary, and else not distinguishable. Contended or
unsteady timings decide nothing. The intervals are widened for the number of settings, so that a true claim over many of
them is refuted by chance in no more than 5% of the studies.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from segbench.report.estimate import Estimate
from segbench.report.evidence import quotient
from segbench.report.points import MACHINE, Point, as_list, in_words, values_on
from segbench.report.quantity import RATIO, Quantity, quantity
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
class Setting:
    """Where on the axes a claim was looked at, and the claimed side's figure over the other's, `None` without one."""

    name: str
    quotient: Estimate | None
    disturbed: bool


def findings(specs: Sequence[ClaimSpec], points: Sequence[Point]) -> list[Finding]:
    """Every claim, decided; for each machine apart where there are several."""
    if MACHINE not in points[0].axes:
        return [decide(spec, points) for spec in specs]
    machines = {machine: [p for p in points if p.machine == machine] for machine in values_on(points, MACHINE)}
    decided = [(decide(spec, those), machine) for spec in specs for machine, those in machines.items()]
    return [replace(found, claim=f"{found.claim} ({machine})") for found, machine in decided]


def decide(spec: ClaimSpec, points: Sequence[Point]) -> Finding:
    """One claim against the points of one machine."""
    claimed = quantity(spec.quantity)
    of_points = [point for point in points if point.matches(spec.of)]
    if spec.than is None:
        compared = [_with_value(spec, claimed, point) for point in of_points]
    else:
        compared = _with_points(spec.than, claimed, of_points, [p for p in points if p.matches(spec.than)])
    lacking = _unmatched(spec.of, points) + _unmatched(spec.than or {}, points)
    lacking += [c.name for c in compared if c.quotient is None]
    known = [c for c in compared if c.quotient is not None]
    if not known:
        return Finding(spec.claim, spec.source, UNANSWERED, "the points that it speaks of were not measured", 0)
    holds = [c for c in known if c.quotient and not c.disturbed and _holds(spec, c.quotient)]
    against = [c for c in known if c.quotient and not c.disturbed and _contradicts(spec, c.quotient)]
    if against:
        verdict, shown = REFUTED, against
    elif len(holds) == len(known):
        verdict, shown = IN_PART if lacking else CONFIRMED, holds
    else:
        verdict, shown = UNDECIDED, [c for c in known if c not in holds]
    evidence = _evidence(claimed, spec, shown, len(known)) + (
        f"; not measured: {', '.join(lacking)}" if lacking else ""
    )
    return Finding(spec.claim, spec.source, verdict, evidence, len(known))


def _unmatched(where: Where, points: Sequence[Point]) -> list[str]:
    """The values in `where` that no point has."""
    return [
        f"{axis}={value}"
        for axis, values in where.items()
        for value in as_list(values)
        if not any(point.matches({axis: value}) for point in points)
    ]


def _with_points(than: Where, claimed: Quantity, left: Sequence[Point], right: Sequence[Point]) -> list[Setting]:
    """Each of the points over each of the others that is alike on all axes which `than` does not name."""
    pairs = [(a, b) for a in left for b in right if a is not b and a.other_axes(*than) == b.other_axes(*than)]
    several = len({str(b.axes) for _, b in pairs}) > len({str(b.other_axes(*than)) for _, b in pairs})
    found = []
    for a, b in pairs:
        other = ["than " + " ".join(f"{axis}={b.value(axis)}" for axis in sorted(than))] if several else []
        name = " ".join(filter(None, [in_words(a.other_axes(*than)), *other]))
        disturbed = a.is_disturbed(claimed) or b.is_disturbed(claimed)
        found.append(Setting(name, quotient(a, b, claimed, len(pairs)), disturbed))
    return found


def _with_value(spec: ClaimSpec, claimed: Quantity, point: Point) -> Setting:
    """The point's figure over the claimed value."""
    found = point.estimate(claimed)
    over = claimed.shown(found).over(Estimate(float(spec.value or 0))) if found else None
    return Setting(in_words(point.other_axes()), over, point.is_disturbed(claimed))


def _holds(spec: ClaimSpec, found: Estimate) -> bool:
    if spec.expect == "equal":
        return all(abs(bound - 1) <= EQUAL_PERCENT / 100 for bound in found.bounds)
    return found.is_smaller if spec.expect == "smaller" else found.is_larger


def _contradicts(spec: ClaimSpec, found: Estimate) -> bool:
    if spec.expect == "equal":
        return found.bounds[0] > 1 + EQUAL_PERCENT / 100 or found.bounds[1] < 1 - EQUAL_PERCENT / 100
    if found.is_exact:
        return not _holds(spec, found)  # equal is not smaller
    return found.is_larger if spec.expect == "smaller" else found.is_smaller


def _evidence(claimed: Quantity, spec: ClaimSpec, shown: Sequence[Setting], settings: int) -> str:
    """The quotients that decided, in words."""
    listed = [
        f"{RATIO.text(c.quotient)}{f' at {c.name}' if c.name else ''}{' (disturbed)' if c.disturbed else ''}"
        for c in shown[:MOST_LISTED]
        if c.quotient
    ]
    if len(shown) > MOST_LISTED:
        listed.append(f"and {len(shown) - MOST_LISTED} more")
    other = f"the claimed {spec.value:g}" if spec.value is not None else "the other's"
    where = f" in {len(shown)} of {settings} settings" if settings > 1 else ""
    return f"{claimed.label} over {other}{where}: {'; '.join(listed)}"
