"""Published figures, shown beside ours as reported and never mixed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from segbench.report.points import Point
from segbench.report.quantity import quantity
from segbench.report.study import REPORTED_FOLDER, ReportedSpec
from segbench.report.tables import text_of

REPORTED = "reported"
OURS = "measured here"


@dataclass(frozen=True)
class Reported:
    """A table of published figures with ours beside them as text, and where they come from."""

    source: str
    title: str
    header: list[str]
    rows: list[list[str]]


def reported(specs: Sequence[ReportedSpec], points: Sequence[Point]) -> list[Reported]:
    """The published figures of the settings that the points have; of other widths or resolutions there are none."""
    tables = [_table(spec, [point for point in points if point.ok]) for spec in specs]
    return [table for table in tables if table.rows]


def _table(spec: ReportedSpec, points: Sequence[Point]) -> Reported:
    """Rows of the file that speak of measured points."""
    of = quantity(spec.quantity)
    frame = pd.read_csv(REPORTED_FOLDER / spec.file, dtype=str, keep_default_na=False)
    keys = [str(column) for column in frame.columns if not str(column).startswith(REPORTED)]
    figures = [str(column) for column in frame.columns if str(column).startswith(REPORTED)]
    rows = []
    for row in frame.to_dict("records"):
        ours = [point for point in points if all(str(point.value(key)) == row[key] for key in keys)]
        for point in ours:
            found = of.of(point.record.metrics)
            rows.append([*(row[key] for key in keys + figures), text_of(of, found) if found else ""])
    return Reported(spec.source, of.title, [*keys, *figures, OURS], rows)
