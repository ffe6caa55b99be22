"""A study's tables: one frame of raw figures for CSV, and the same laid out with intervals for people."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from segbench.point.record import disturbed
from segbench.report.evidence import is_larger, is_smaller, quotient
from segbench.report.exact import exact_rows
from segbench.report.points import MACHINE, SWEEP, Point, values_on
from segbench.report.quantity import Estimate, Quantity, quantity
from segbench.report.rounding import count, interval, significant
from segbench.report.study import TableSpec

Place = tuple[Any, ...]
TOTAL = "total"
OVER_TOTAL = "total over {}"
SAME = "="
"""Marks a ratio to the baseline that cannot be told from 1."""
DISTURBED = "!"
"""Marks a timing that was contended or unsteady; such a one is never called the best."""


@dataclass(frozen=True)
class Cell:
    """A cell as text; `best` where it can be told from every other in its comparison."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table to be shown, and its raw figures.

    `groups` heads the columns above `header`; the first `leading` columns lead a row and have no group.
    """

    name: str
    caption: str
    leading: int
    groups: list[str]
    header: list[str]
    rows: list[list[Cell]]
    frame: pd.DataFrame = field(repr=False)
    """One row a point, at full precision: its axes, its status, and metrics by their names in the record."""


def tables(specs: Sequence[TableSpec], points: Sequence[Point], compare: str | None) -> list[Table]:
    """The tables that have points."""
    made = []
    for spec in specs:
        chosen = [point for point in points if point.matches(spec.where)]
        if chosen and spec.exact:
            made.append(_exact_table(spec, chosen))
        elif chosen:
            made.append(_table(_with_further_axes(spec, chosen), chosen, compare))
    return made


def _with_further_axes(spec: TableSpec, points: Sequence[Point]) -> TableSpec:
    """The rows with every axis that tells points of one cell apart; machines and sweeps first.

    There is no total over such rows: it would add what the study did not mean to be added.
    """
    rows = [axis for axis in (MACHINE, SWEEP) if axis in points[0].axes and axis not in (*spec.rows, spec.over)]
    rows += spec.rows
    for axis in points[0].axes:
        cells: dict[tuple[Place, Any], set[str]] = {}
        for point in points:
            cells.setdefault((_place(point, rows), _side(point, spec)), set()).add(str(point.value(axis)))
        if any(len(values) > 1 for values in cells.values()):
            rows = [*rows, axis]
    sides = {side: {_place(p, rows) for p in points if _side(p, spec) == side} for side in values_on_side(points, spec)}
    comparable = rows == spec.rows and len({frozenset(places) for places in sides.values()}) == 1
    return replace(spec, rows=rows, total=spec.total if comparable else None)


def _side(point: Point, spec: TableSpec) -> Any:
    """Its value on the axis whose values stand side by side."""
    return point.value(spec.over) if spec.over else None


def values_on_side(points: Sequence[Point], spec: TableSpec) -> list[Any]:
    """What stands side by side, `None` alone where nothing does."""
    return values_on(points, spec.over) if spec.over else [None]


def _exact_table(spec: TableSpec, points: Sequence[Point]) -> Table:
    assert spec.exact is not None
    frame = pd.DataFrame(exact_rows(spec.exact, [point.record.config for point in points]))
    rows = [[Cell(_plain(value)) for value in row] for row in frame.itertuples(index=False)]
    header = [str(column) for column in frame.columns]
    return Table(spec.name, spec.caption, len(header), [""] * len(header), header, rows, frame)


def _plain(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value).lower() if isinstance(value, bool) else value
    return count(value) if float(value).is_integer() else significant(float(value))


def _table(spec: TableSpec, points: Sequence[Point], compare: str | None) -> Table:
    quantities = [quantity(name) for name in spec.quantities]
    quantities = [q for q in quantities if any(q.of(point.record.metrics) for point in points)] or quantities[:1]
    sides = values_on_side(points, spec)
    at: dict[tuple[Place, Any], Point] = {}
    for point in points:
        at.setdefault((_place(point, spec.rows), _side(point, spec)), point)
    compared = _compared(points, compare)
    rows = []
    for place in dict.fromkeys(place for place, _ in at):
        found = [(at.get((place, side)), shown) for side in sides for shown in quantities]
        cells = [
            _cell(point, shown, _rivals(point, compared, compare)) if point else Cell("") for point, shown in found
        ]
        rows.append([*(Cell(str(value)) for value in place), *cells])
    if spec.total is not None:
        rows += _total_rows(spec, sides, quantities, points)
    groups = [""] * len(spec.rows) + [str(side) if side is not None else "" for side in sides for _ in quantities]
    header = [*spec.rows, *(q.title for _ in sides for q in quantities)]
    return Table(spec.name, spec.caption, len(spec.rows), groups, header, rows, _frame(spec, quantities, points))


def _place(point: Point, axes: Sequence[str]) -> Place:
    """Its values on the axes that lead a row."""
    return tuple(point.value(axis) for axis in axes)


def _cell(point: Point, shown: Quantity, rivals: Sequence[Point]) -> Cell:
    if not point.ok:
        return Cell(point.record.status)
    found = shown.of(point.record.metrics)
    if found is None:
        return Cell("")
    if shown.power and disturbed(point.record):
        return Cell(f"{text_of(shown, found)} {DISTURBED}")
    return Cell(text_of(shown, found), bool(rivals) and _is_best(point, shown, rivals))


def text_of(shown: Quantity, found: Estimate) -> str:
    """A figure in its unit, with its interval; ratios to a baseline that may be 1 are marked."""
    scaled = shown.shown(found)
    if scaled.low is None or scaled.high is None:
        return (
            count(scaled.value) if shown.scale == 1 and scaled.value == int(scaled.value) else significant(scaled.value)
        )
    text = interval(scaled.value, scaled.low, scaled.high)
    to_baseline = shown.metric in ("ratio_to_baseline/median", "speedup/median")
    return f"{text} {SAME}" if to_baseline and scaled.low <= 1 <= scaled.high else text


def _compared(points: Sequence[Point], compare: str | None) -> dict[str, list[Point]]:
    """The measured points that differ in nothing but what is compared, by the rest of their axes."""
    groups: dict[str, list[Point]] = {}
    for point in points if compare else []:
        if point.ok and compare in point.axes:
            groups.setdefault(_others(point, str(compare)), []).append(point)
    return groups


def _rivals(point: Point, compared: dict[str, list[Point]], compare: str | None) -> list[Point]:
    """The points that this one is compared with."""
    if compare is None or not point.ok:
        return []
    return [other for other in compared.get(_others(point, compare), []) if other is not point]


def _others(point: Point, compare: str) -> str:
    """Its axes but the compared one; its options (`prcm.expansion`) and presets that name it belong to it."""
    own = {key for key in point.axes if key == compare or key.startswith(f"{compare}.")}
    return repr([(key, str(value)) for key, value in point.axes.items() if key not in own | point.presets])


def _is_best(point: Point, shown: Quantity, rivals: Sequence[Point]) -> bool:
    """Whether its figure can be told from every rival's, and is the better one, as printed and by the evidence.

    Two points timed minutes apart can be the other way round than the ratios to their common baseline say; then
    neither is the best.
    """
    if shown.lower_is_better is None:
        return False
    better = is_smaller if shown.lower_is_better else is_larger
    for rival in rivals:
        found, mine, theirs = quotient(point, rival, shown), *(shown.of(p.record.metrics) for p in (point, rival))
        if found is None or mine is None or theirs is None or not better(found):
            return False
        if shown.power and disturbed(rival.record):
            return False
        if not (mine.value < theirs.value if shown.lower_is_better else mine.value > theirs.value):
            return False
    return True


def _total_rows(
    spec: TableSpec, sides: Sequence[Any], quantities: Sequence[Quantity], points: Sequence[Point]
) -> list[list[Cell]]:
    """Sums over the rows, and their quotients to the side that `total` names."""
    sums = {
        (side, shown.metric): total(shown, [p for p in points if spec.over is None or p.value(spec.over) == side])
        for side, shown in itertools.product(sides, quantities)
    }
    lead = [Cell("")] * (len(spec.rows) - 1)
    first = [Cell(TOTAL), *lead]
    second = [Cell(OVER_TOTAL.format(spec.total)), *lead]
    for side, shown in itertools.product(sides, quantities):
        found, reference = sums[side, shown.metric], sums.get((spec.total, shown.metric))
        first.append(Cell(text_of(shown, found) if found else ""))
        quotient_text = "" if not found or not reference else _quotient_text(found, reference)
        second.append(Cell("" if side == spec.total else quotient_text))
    return [first, second] if len(sides) > 1 else [first]


def _quotient_text(found: Estimate, reference: Estimate) -> str:
    value = found.value / reference.value
    if min(found.bounds[0], reference.bounds[0]) <= 0 or found.low is None or reference.low is None:
        return significant(value)
    half = math.hypot(*(math.log(e.bounds[1] / e.bounds[0]) / 2 for e in (found, reference)))
    return interval(value, value * math.exp(-half), value * math.exp(half))


def total(shown: Quantity, points: Sequence[Point]) -> Estimate | None:
    """The sum of an additive quantity; half-widths of intervals add in squares, as of independent figures.

    `None` where a point has no figure: a sum that leaves one out would mislead.
    """
    found = [shown.of(point.record.metrics) if point.ok else None for point in points]
    known = [estimate for estimate in found if estimate is not None]
    if not shown.additive or len(known) < len(found) or not known:
        return None
    value = math.fsum(estimate.value for estimate in known)
    if any(estimate.low is None for estimate in known):
        return Estimate(value)
    half = math.hypot(*((estimate.bounds[1] - estimate.bounds[0]) / 2 for estimate in known))
    return Estimate(value, value - half, value + half)


def _frame(spec: TableSpec, quantities: Sequence[Quantity], points: Sequence[Point]) -> pd.DataFrame:
    """The raw figures, one row a point, and the totals."""
    rows = [_raw(point.axes, point, quantities) for point in points]
    if spec.total is not None:
        for side in values_on_side(points, spec):
            row: dict[str, Any] = {spec.rows[0]: TOTAL} | ({spec.over: side} if spec.over else {})
            these = [p for p in points if spec.over is None or p.value(spec.over) == side]
            for shown in quantities:
                row |= _named(shown, total(shown, these))
            rows.append(row)
    return pd.DataFrame(rows)


def _raw(axes: dict[str, Any], point: Point, quantities: Sequence[Quantity]) -> dict[str, Any]:
    row = {**axes, "status": point.record.status}
    for shown in quantities:
        row |= _named(shown, shown.of(point.record.metrics) if point.ok else None)
    return row


def _named(shown: Quantity, found: Estimate | None) -> dict[str, float]:
    """A figure by its metric's name, its interval beside it."""
    if found is None:
        return {}
    if found.low is None or found.high is None:
        return {shown.metric: found.value}
    stem = shown.metric.removesuffix("/median")
    return {shown.metric: found.value, f"{stem}/ci95_low": found.low, f"{stem}/ci95_high": found.high}
