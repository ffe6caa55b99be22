"""A table on the console, as Markdown and as LaTeX (booktabs). On a page `page.html.jinja` writes it."""

import re
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich import box
from rich.markup import escape as escape_markup
from rich.table import Table as RichTable

from segbench.report.table import Cell, Table

STAR = "*"
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
NEEDS = "% needs \\usepackage{booktabs} and \\usepackage{graphicx}"
SHRUNK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Makes a table that is wider than the text as wide as the text."""


def rendered(template: str, **facts: Any) -> str:
    """A page or a text from its template in this folder; what stands in an HTML page is escaped."""
    environment = Environment(
        loader=PackageLoader("segbench.report", "."),
        autoescape=template.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**facts)


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
    return f"[bold green]{text}{STAR}[/]" if cell.best else f"{text} " if starred else text


def markdown(table: Table) -> str:
    """The table for a README or an issue; groups stand before their columns' headers."""
    header = [f"{column.group}: {column.header}" if column.group else column.header for column in table.columns]
    aligned = ["---" if column.is_text else "---:" for column in table.columns]
    body = [[f"**{cell.signed}**" if cell.best else cell.signed for cell in row] for row in table.rows]
    return "".join(f"| {' | '.join(map(_markdown_text, line))} |\n" for line in (header, aligned, *body))


def _markdown_text(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def latex(table: Table, note: str = "") -> str:
    """A `table` environment to `\\input`; needs booktabs and graphicx. `note` goes below the caption's sentence."""
    body = [[_latex_text(cell) for cell in row] for row in table.rows]
    lines = [
        NEEDS,
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(table.caption)}. {escape(note)}}}",
        rf"\label{{tab:{re.sub(r'[^a-z0-9]+', '-', table.name.lower())}}}",
        SHRUNK,
        rf"\begin{{tabular}}{{{''.join('l' if column.is_text else 'r' for column in table.columns)}}}",
        r"\toprule",
        *_group_lines(table),
        " & ".join(escape(column.header) for column in table.columns) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in body),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_text(cell: Cell) -> str:
    return rf"\textbf{{{escape(cell.signed)}}}" if cell.best else escape(cell.signed)


def spans(table: Table) -> list[tuple[str, int]]:
    """The groups above the header with how many columns each spans; none where no column has a group."""
    found = [(group, len(list(columns))) for group, columns in groupby(table.columns, lambda column: column.group)]
    return found if any(group for group, _ in found) else []


def _group_lines(table: Table) -> list[str]:
    """Headers that span the columns of their group, with a rule below each."""
    cells, rules, column = [], [], 1
    for group, width in spans(table):
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(group)}}}" if group else " & ".join([""] * width))
        if group:
            rules.append(rf"\cmidrule(lr){{{column}-{column + width - 1}}}")
        column += width
    return [" & ".join(cells) + r" \\", " ".join(rules)] if cells else []


def escape(text: str) -> str:
    """Text as LaTeX shows it; at the beginning of a row, `[` and `*` would belong to the end of the row before."""
    escaped = "".join(LATEX_ESCAPES.get(character, character) for character in text)
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped.startswith(("[", "*")) else escaped
