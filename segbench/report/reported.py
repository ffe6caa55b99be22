"""Published figures, shown beside ours as reported and never mixed in."""

from collections.abc import Sequence

import pandas as pd

from segbench.report.points import Point
from segbench.report.quantity import quantity
from segbench.report.study import REPORTED_FOLDER, ReportedSpec
from segbench.report.table import Table, figure_cell, plain_table

REPORTED = "reported"
"""Beginning of the columns that hold figures; the others name the setting."""
OURS = "measured here"


def reported(specs: Sequence[ReportedSpec], points: Sequence[Point]) -> list[Table]:
    """The published figures of the settings that the points have; of other widths or resolutions there are none."""
    found = [_table(spec, [point for point in points if point.ok]) for spec in specs]
    return [table for table in found if table.rows]


def _table(spec: ReportedSpec, points: Sequence[Point]) -> Table:
    """Rows of the file that speak of measured points."""
    shown = quantity(spec.quantity)
    frame = pd.read_csv(REPORTED_FOLDER / spec.file, dtype=str, keep_default_na=False)
    settings = [name for name in frame.columns if not name.startswith(REPORTED)]
    rows = [
        {**{str(name): text for name, text in row.items()}, OURS: figure_cell(shown, point.record).signed}
        for row in frame.to_dict("records")
        for point in points
        if point.matches({name: row[name] for name in settings})
    ]
    return plain_table(rows, f"{shown.title}: {spec.source}")
