"""A table on the console, as Markdown and as LaTeX (booktabs); and the templates of texts and pages."""

import re
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from rich import box
from rich.markup import escape as escape_markup
from rich.table import Table as RichTable

from segbench.report.table import BEST, Cell, Table

LATEX_NAMES = {"\\": "backslash", "~": "asciitilde", "^": "asciicircum", "<": "less", ">": "greater", "|": "bar"}
LATEX_ESCAPES = {character: f"\\{character}" for character in "&%$#_{}"} | {
    character: rf"\text{name}{{}}" for character, name in LATEX_NAMES.items()
}
TEMPLATES = Environment(
    loader=PackageLoader("segbench.report", "."),
    autoescape=select_autoescape(["html.jinja"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def rendered(template: str, **facts: Any) -> str:
    """A page or a text from its template in this folder; what stands in an HTML page is escaped."""
    return TEMPLATES.get_template(template).render(**facts)


def rich_table(table: Table) -> RichTable:
    """The table for the console, without lines; the best are green with a star, for which others leave room."""
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    starred = [any(row[index].best for row in table.rows) for index in range(len(table.columns))]
    for column in table.columns:
        shown.add_column(escape_markup(column.header), justify="left" if column.is_text else "right", overflow="fold")
    for row in table.rows:
        shown.add_row(*(_console_text(cell, star) for cell, star in zip(row, starred, strict=True)))
    return shown


def _console_text(cell: Cell, starred: bool) -> str:
    text = escape_markup(cell.signed)
    return f"[bold green]{text}{BEST}[/]" if cell.best else f"{text} " if starred else text


def markdown(table: Table) -> str:
    """The table for a README or an issue; groups stand before their columns' headers."""
    header = [f"{column.group}: {column.header}" if column.group else column.header for column in table.columns]
    aligned = ["---" if column.is_text else "---:" for column in table.columns]
    body = [[f"**{cell.signed}**" if cell.best else cell.signed for cell in row] for row in table.rows]
    return "".join(f"| {' | '.join(map(_markdown_text, line))} |\n" for line in (header, aligned, *body))


def _markdown_text(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def spans(table: Table) -> list[tuple[str, int, int]]:
    """The groups above the header: how many columns each spans, and its first; none where no column has a group."""
    found, first = [], 1
    for group, columns in groupby(table.columns, lambda column: column.group):
        found.append((group, len(list(columns)), first))
        first += found[-1][1]
    return found if any(group for group, *_ in found) else []


def latex(table: Table, note: str = "") -> str:
    """A `table` environment to `\\input`; needs booktabs and graphicx. `note` goes below the caption's sentence.

    A table that is wider than the text is shrunk to its width.
    """
    label = re.sub(r"[^a-z0-9]+", "-", table.name.lower())
    return rendered("table.tex.jinja", table=table, note=note, label=label, spans=spans(table), escape=escape)


def escape(text: str) -> str:
    """Text as LaTeX shows it; at the beginning of a row, `[` and `*` would belong to the end of the row before."""
    escaped = "".join(LATEX_ESCAPES.get(character, character) for character in text)
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped.startswith(("[", "*")) else escaped
