"""A table of cells: what every form of a table, on the console, in files and on pages, is written from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from segbench.point.record import Record, disturbed
from segbench.report.quantity import RATIO, SPEEDUP, Quantity
from segbench.report.rounding import count, significant

BEST, SAME, DISTURBED = "*", "=", "!"
MEANINGS = {
    BEST: "best of its column",
    SAME: "not distinguishable from the baseline",
    DISTURBED: "contended or unsteady",
}


@dataclass(frozen=True)
class Cell:
    """A cell: its text, the signs `=` and `!` that stand behind it, and in words why it holds no figure.

    The best of those it is compared with is bold, on the console green with a star.
    """

    text: str
    signs: str = ""
    best: bool = False
    reason: str = ""

    @property
    def signed(self) -> str:
        """The text with its signs."""
        return " ".join([self.text, *self.signs])


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


def plain_table(rows: Iterable[Mapping[Any, Any]], caption: str = "", name: str = "") -> Table:
    """A table of plain values, one mapping of headers to values a row; columns of numbers are columns of figures."""
    texts = pd.DataFrame([{header: _plain_text(value) for header, value in row.items()} for row in rows])
    columns = [Column(str(header), is_text=not texts[header].map(_is_number).all()) for header in texts]
    return Table(columns, [[Cell(text) for text in row] for row in texts.to_numpy()], name, caption)


def _plain_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return count(value) if float(value).is_integer() else significant(float(value))


def _is_number(text: str) -> bool:
    return not text or text.lstrip("-")[:1].isdigit()


def figure_cell(quantity: Quantity, record: Record, best: bool = False) -> Cell:
    """The figure of a record with its signs; the status of one that was not measured, and its reason."""
    if record.status != "ok":
        return Cell(record.status, reason=str(record.reason))
    found = quantity.estimate(record.metrics)
    if found is None:
        return Cell("")
    of_baseline = quantity.metric in (RATIO.metric, SPEEDUP.metric)
    signs = SAME if of_baseline and found.bounds[0] <= 1 <= found.bounds[1] else ""
    signs += DISTURBED if quantity.power and disturbed(record) else ""
    return Cell(quantity.text(found), signs, best)
