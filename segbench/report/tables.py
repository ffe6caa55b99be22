"""A study's tables: points along rows and side by side, the best of a comparison marked, sums below.

Beside them, in tables of their own, the figures that others published.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pandas as pd

from segbench.report.estimate import Estimate
from segbench.report.evidence import quotient
from segbench.report.exact import EXACT_ROWS
from segbench.report.points import MACHINE, SWEEP, Point
from segbench.report.quantity import QUANTITIES, RATIO, Quantity
from segbench.report.study import REPORTED_FILES, ReportedSpec, TableSpec
from segbench.report.table import Cell, Column, Table, figure_cell, plain_table

Sides = Mapping[Any, list[Point]]
"""The points by the value of the axis whose values stand side by side; `None` where nothing does."""
Totals = Mapping[Any, list[Estimate | None]]
"""The sums of every side, a quantity after the other."""
TOTAL = "total"


def tables(specs: Sequence[TableSpec], points: Sequence[Point], compare: str | None) -> list[Table]:
    """The tables that have points."""
    chosen = ((spec, [point for point in points if point.matches(spec.where)]) for spec in specs)
    return [_exact(spec, those) if spec.exact else _measured(spec, those, compare) for spec, those in chosen if those]


def _exact(spec: TableSpec, points: Sequence[Point]) -> Table:
    rows = EXACT_ROWS[str(spec.exact)]([point.record.config for point in points])
    return replace(plain_table(rows, spec.caption, spec.name), frame=pd.DataFrame(rows))


def _measured(spec: TableSpec, points: Sequence[Point], compare: str | None) -> Table:
    spec, sides = _with_further_axes(spec, points)
    named = [QUANTITIES[name] for name in spec.quantities]
    quantities = [each for each in named if any(p.estimate(each) for p in points)] or named[:1]
    at = {(side, _lead(p, spec.rows)): p for side, members in sides.items() for p in reversed(members)}
    rivals = _rivals(points, compare or "")
    rows = []
    for lead in dict.fromkeys(_lead(point, spec.rows) for point in points):
        row = [Cell(str(value)) for value in lead]
        for side, shown in product(sides, quantities):
            point = at.get((side, lead))
            row.append(_cell(point, shown, rivals.get(id(point), ())) if point else Cell(""))
        rows.append(row)
    sums = {side: [total(q, members) for q in quantities] for side, members in sides.items() if spec.total is not None}
    if sums:
        rows += _total_rows(spec, sums, quantities)
    columns = [Column(axis, is_text=True) for axis in spec.rows]
    columns += [Column(q.title, "" if side is None else str(side)) for side, q in product(sides, quantities)]
    return Table(columns, rows, spec.name, spec.caption, _frame(spec, sums, quantities, points))


def _with_further_axes(spec: TableSpec, points: Sequence[Point]) -> tuple[TableSpec, Sides]:
    """The rows with every axis that tells points of one cell apart, machines and sweeps first; and the sides.

    There is no total over such rows: it would add what the study did not mean to be added.
    """
    rows = [axis for axis in (MACHINE, SWEEP) if axis in points[0].axes and axis not in (*spec.rows, spec.over)]
    rows += spec.rows
    over = [spec.over] if spec.over else []
    for axis in points[0].axes:
        cells = {_lead(point, [*rows, *over]) for point in points}
        if len({_lead(point, [*rows, *over, axis]) for point in points}) > len(cells):
            rows = [*rows, axis]
    sides: dict[Any, list[Point]] = {}
    for point in points:
        sides.setdefault(point.value(spec.over) if spec.over else None, []).append(point)
    leads = {frozenset(_lead(point, rows) for point in members) for members in sides.values()}
    comparable = rows == spec.rows and len(leads) == 1
    return replace(spec, rows=rows, total=spec.total if comparable else None), sides


def _lead(point: Point, axes: Sequence[str]) -> tuple[Any, ...]:
    """Its values on the axes that lead a row."""
    return tuple(point.value(axis) for axis in axes)


def _rivals(points: Sequence[Point], compare: str) -> dict[int, list[Point]]:
    """By every measured point's `id` the others that differ from it in nothing but what is compared."""
    groups: defaultdict[str, list[Point]] = defaultdict(list)
    for point in points:
        if point.ok and compare in point.axes:
            groups[str(point.other_axes(*point.axes_of(compare)))].append(point)
    return {id(point): [r for r in group if r is not point] for group in groups.values() for point in group}


def _cell(point: Point, shown: Quantity, rivals: Sequence[Point]) -> Cell:
    best = bool(rivals) and all(_is_better(point, rival, shown) for rival in rivals)
    return figure_cell(shown, point.record, best)


def _is_better(point: Point, rival: Point, shown: Quantity) -> bool:
    """Whether its figure can be told from a rival's, and is the better one, as printed and by the evidence.

    Two points timed minutes apart can be the other way round than the ratios to their common baseline say; then
    neither is the best. Disturbed timings are never the best, and nothing is better than they are.
    """
    mine, theirs, found = point.estimate(shown), rival.estimate(shown), quotient(point, rival, shown)
    if mine is None or theirs is None or found is None or point.is_disturbed(shown) or rival.is_disturbed(shown):
        return False
    low, high = found.bounds
    if shown.lower_is_better:
        return high < 1 and mine.value < theirs.value
    return shown.lower_is_better is not None and low > 1 and mine.value > theirs.value


def _total_rows(spec: TableSpec, sums: Totals, quantities: Sequence[Quantity]) -> list[list[Cell]]:
    """Sums over the rows, and their quotients to the side that `total` names."""
    empty = [Cell("")] * (len(spec.rows) - 1)
    first, second = [Cell(TOTAL), *empty], [Cell(f"{TOTAL} over {spec.total}"), *empty]
    for side, found in sums.items():
        for shown, own, reference in zip(quantities, found, sums.get(spec.total, found), strict=True):
            over = own.over(reference) if own and reference and spec.total in sums and side != spec.total else None
            first.append(Cell(shown.text(own) if own else ""))
            second.append(Cell(RATIO.text(over) if over else ""))
    return [first, second] if len(sums) > 1 else [first]


def total(shown: Quantity, points: Sequence[Point]) -> Estimate | None:
    """The sum of an additive quantity; half-widths of intervals add in squares, as of independent figures.

    `None` where a point has no figure: a sum that leaves one out would mislead.
    """
    found = [point.estimate(shown) for point in points]
    known = [estimate for estimate in found if estimate is not None]
    if not shown.additive or len(known) < len(found) or not known:
        return None
    value = math.fsum(estimate.value for estimate in known)
    if any(estimate.is_exact for estimate in known):
        return Estimate(value)
    half = math.hypot(*((estimate.bounds[1] - estimate.bounds[0]) / 2 for estimate in known))
    return Estimate(value, value - half, value + half)


def _frame(spec: TableSpec, sums: Totals, quantities: Sequence[Quantity], points: Sequence[Point]) -> pd.DataFrame:
    """The raw figures by their metrics' names, intervals beside them: one row a point, and the totals."""
    found = [
        ({**point.axes, "status": point.record.status}, [point.estimate(q) for q in quantities]) for point in points
    ]
    found += [({spec.rows[0]: TOTAL} | ({spec.over: side} if spec.over else {}), own) for side, own in sums.items()]
    rows = []
    for row, estimates in found:
        for shown, estimate in zip(quantities, estimates, strict=True):
            if estimate is not None:
                row[shown.metric] = estimate.value
                row |= {} if estimate.is_exact else dict(zip(shown.interval_names, estimate.bounds, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def reported(specs: Sequence[ReportedSpec], points: Sequence[Point]) -> list[Table]:
    """The figures that others published of the settings that the points have, beside ours and never mixed in."""
    found = []
    for spec in specs:
        shown = QUANTITIES[spec.quantity]
        frame = pd.read_csv(REPORTED_FILES[spec.file], dtype=str, keep_default_na=False)
        settings = [str(name) for name in frame.columns if not str(name).startswith("reported")]
        rows = [
            {**row, "measured here": figure_cell(shown, point.record).signed}
            for row in frame.to_dict("records")
            for point in points
            if point.ok and point.matches({name: row[name] for name in settings})
        ]
        found += [plain_table(rows, f"{shown.title}: {spec.source}")] if rows else []
    return found
