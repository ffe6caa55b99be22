"""A table of cells: what every form of a table, on the console, in files and on pages, is written from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pandas as pd

from segbench.point.record import Record, disturbed
from segbench.report.estimate import Estimate
from segbench.report.quantity import RATIO, SPEEDUP, Quantity
from segbench.report.rounding import count, interval, significant


class Mark(Enum):
    """What a cell says beside its figure."""

    BEST = "best of its column"
    SAME = "not distinguishable from the baseline"
    DISTURBED = "contended or unsteady"
    STATUS = "not measured"


SIGNS = {Mark.SAME: "=", Mark.DISTURBED: "!"}
"""Stand behind the figure wherever it is shown. The best is bold, on the console green with a star."""


@dataclass(frozen=True)
class Cell:
    """A cell: its text without the marks, the marks, and in words why it holds no figure."""

    text: str
    marks: frozenset[Mark] = frozenset()
    reason: str = ""

    @property
    def signed(self) -> str:
        """The text with the signs of its marks."""
        return " ".join([self.text, *(sign for mark, sign in SIGNS.items() if mark in self.marks)])

    @property
    def best(self) -> bool:
        """Whether it is the best of those it is compared with."""
        return Mark.BEST in self.marks

    def as_best(self, best: bool = True) -> "Cell":
        """The same cell, marked as the best."""
        return Cell(self.text, self.marks | {Mark.BEST}, self.reason) if best else self


@dataclass(frozen=True)
class Column:
    """The head of a column, what heads it together with its neighbours, and whether it holds texts or figures."""

    header: str
    group: str = ""
    is_text: bool = False


@dataclass(frozen=True)
class Table:
    """A table to be shown; `name` and `caption` where it becomes a file, and for CSV files its raw figures."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    name: str = ""
    caption: str = ""
    frame: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    """One row a point, at full precision: its axes, its status, and metrics by their names in the record."""

    @property
    def marks(self) -> set[Mark]:
        """The marks that some of its cells have."""
        return {mark for row in self.rows for cell in row for mark in cell.marks}


def plain_table(rows: Iterable[Mapping[str, Any]], caption: str = "", name: str = "") -> Table:
    """A table of plain values, one mapping of headers to values a row; columns of numbers are columns of figures."""
    listed = [{header: _plain_text(value) for header, value in row.items()} for row in rows]
    headers = listed[0] if listed else {}
    columns = [Column(h, is_text=not all(_is_number(row[h]) for row in listed)) for h in headers]
    return Table(columns, [[Cell(row[h]) for h in headers] for row in listed], name, caption)


def _plain_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return count(value) if float(value).is_integer() else significant(float(value))


def _is_number(text: str) -> bool:
    return not text or text.lstrip("-")[:1].isdigit()


def figure_cell(quantity: Quantity, record: Record) -> Cell:
    """The figure of a record with its marks; the status of one that was not measured, and its reason."""
    if record.status != "ok":
        return Cell(record.status, frozenset({Mark.STATUS}), str(record.reason))
    found = quantity.estimate(record.metrics)
    if found is None:
        return Cell("")
    marks = {Mark.SAME} if _is_of_baseline(quantity) and found.bounds[0] <= 1 <= found.bounds[1] else set()
    if quantity.power and disturbed(record):
        marks.add(Mark.DISTURBED)
    return Cell(text_of(quantity, found), frozenset(marks))


def text_of(quantity: Quantity, found: Estimate) -> str:
    """A figure in its unit, with its interval."""
    shown = quantity.shown(found)
    if not shown.is_exact:
        return interval(shown.value, *shown.bounds)
    whole = quantity.scale == 1 and not quantity.measured and float(shown.value).is_integer()
    return count(shown.value) if whole else significant(shown.value, quantity.digits)


def quotient_text(found: Estimate) -> str:
    """A quotient with its interval; of exact figures without."""
    return significant(found.value) if found.is_exact else interval(found.value, *found.bounds)


def _is_of_baseline(quantity: Quantity) -> bool:
    return quantity.metric in (RATIO.metric, SPEEDUP.metric)
