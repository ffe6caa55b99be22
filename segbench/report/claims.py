"""What the notebooks assert, decided by a study's points: confirmed, refuted, or not distinguishable here.

A claim speaks of every setting of the other axes. It is confirmed where all of them show it, in part where some of what
it names was not measured, refuted where at least one shows the contrary, and else not distinguishable. Contended or
unsteady timings decide nothing. The intervals are widened for the number of settings, so that a true claim over many of
them is refuted by chance in no more than 5% of the studies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from segbench.report.estimate import Estimate
from segbench.report.evidence import quotient
from segbench.report.points import MACHINE, Point, as_list, in_words, values_on
from segbench.report.quantity import QUANTITIES, RATIO, Quantity
from segbench.report.study import ClaimSpec

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


Settings = Iterator[tuple[str, Estimate | None, bool]]
"""Where on the axes a claim was looked at, the claimed side's figure over the other's, and whether it was disturbed."""


def findings(specs: Sequence[ClaimSpec], points: Sequence[Point]) -> list[Finding]:
    """Every claim, decided; for each machine apart where there are several."""
    if MACHINE not in points[0].axes:
        return [decide(spec, points) for spec in specs]
    found = []
    for spec, machine in product(specs, values_on(points, MACHINE)):
        decided = decide(spec, [point for point in points if point.value(MACHINE) == machine])
        found.append(replace(decided, claim=f"{spec.claim} ({machine})"))
    return found


def decide(spec: ClaimSpec, points: Sequence[Point]) -> Finding:
    """One claim against the points of one machine."""
    claimed = QUANTITIES[spec.quantity]
    lacking = [
        f"{axis}={value}"
        for where in (spec.of, spec.than or {})
        for axis, values in where.items()
        for value in as_list(values)
        if not any(point.matches({axis: value}) for point in points)
    ]
    shown: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for name, found, disturbed in _settings(spec, claimed, points):
        if found is None:
            lacking.append(name)
        else:
            said = RATIO.text(found) + (f" at {name}" if name else "") + (" (disturbed)" if disturbed else "")
            shown[None if disturbed else _shows(spec, found)].append(said)
    settings = sum(map(len, shown.values()))
    if not settings:
        return Finding(spec.claim, spec.source, UNANSWERED, "the points that it speaks of were not measured", 0)
    if shown[False]:
        verdict, decisive = REFUTED, shown[False]
    elif shown[None]:
        verdict, decisive = UNDECIDED, shown[None]
    else:
        verdict, decisive = IN_PART if lacking else CONFIRMED, shown[True]
    evidence = _evidence(spec, claimed, decisive, settings)
    evidence += f"; not measured: {', '.join(lacking)}" if lacking else ""
    return Finding(spec.claim, spec.source, verdict, evidence, settings)


def _evidence(spec: ClaimSpec, claimed: Quantity, decisive: Sequence[str], settings: int) -> str:
    """The quotients that decided, in words."""
    listed = [*decisive[:MOST_LISTED]]
    listed += [f"and {len(decisive) - MOST_LISTED} more"] if len(decisive) > MOST_LISTED else []
    other = f"the claimed {spec.value:g}" if spec.value is not None else "the other's"
    where = f" in {len(decisive)} of {settings} settings" if settings > 1 else ""
    return f"{claimed.label} over {other}{where}: {'; '.join(listed)}"


def _settings(spec: ClaimSpec, claimed: Quantity, points: Sequence[Point]) -> Settings:
    """The points `of` over the claimed value, or over each that is alike on all axes which `than` does not name."""
    left, than = [point for point in points if point.matches(spec.of)], spec.than
    if than is None:
        for point in left:
            figure = point.estimate(claimed)
            over = claimed.shown(figure).over(Estimate(float(spec.value or 0))) if figure else None
            yield in_words(point.other_axes()), over, point.is_disturbed(claimed)
        return
    right = [point for point in points if point.matches(than)]
    pairs = [(a, b) for a in left for b in right if a is not b and a.other_axes(*than) == b.other_axes(*than)]
    several = len({str(b.axes) for _, b in pairs}) > len({str(b.other_axes(*than)) for _, b in pairs})
    for a, b in pairs:
        other = " ".join(["than", *(f"{axis}={b.value(axis)}" for axis in sorted(than))]) if several else ""
        name = " ".join(filter(None, [in_words(a.other_axes(*than)), other]))
        yield name, quotient(a, b, claimed, len(pairs)), a.is_disturbed(claimed) or b.is_disturbed(claimed)


def _shows(spec: ClaimSpec, found: Estimate) -> bool | None:
    """Whether a quotient shows what is claimed, `False` for the contrary; `None` where the interval allows both."""
    low, high = found.bounds
    least, most = 1 - EQUAL_PERCENT / 100, 1 + EQUAL_PERCENT / 100
    claimed = {"smaller": high < 1, "larger": low > 1, "equal": least <= low and high <= most}[spec.expect]
    contrary = {"smaller": low > 1, "larger": high < 1, "equal": low > most or high < least}[spec.expect]
    return claimed or (False if contrary or found.is_exact else None)
