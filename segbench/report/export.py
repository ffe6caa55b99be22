"""Tables as Markdown and as LaTeX (booktabs). The best of a comparison is bold where it can be told from all others."""

from __future__ import annotations

import re
from itertools import groupby

from segbench.report.tables import Cell, Table

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


def markdown(table: Table) -> str:
    """The table for a README or an issue; groups stand before their columns' headers."""
    header = [f"{group}: {name}" if group else name for group, name in zip(table.groups, table.header, strict=True)]
    aligned = ["---"] * table.leading + ["---:"] * (len(header) - table.leading)
    lines = [header, aligned, *([_bold(cell, "**{}**") for cell in row] for row in table.rows)]
    return "\n".join("| " + " | ".join(text.replace("|", r"\|") for text in line) + " |" for line in lines) + "\n"


def latex(table: Table, note: str = "") -> str:
    """A `table` environment to `\\input`; needs booktabs and graphicx. `note` goes below the caption's sentence."""
    columns = "l" * table.leading + "r" * (len(table.header) - table.leading)
    lines = [
        NEEDS,
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(table.caption)}. {escape(note)}}}",
        rf"\label{{tab:{re.sub(r'[^a-z0-9]+', '-', table.name.lower())}}}",
        SHRUNK,
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *_group_lines(table),
        " & ".join(escape(name) for name in table.header) + r" \\",
        r"\midrule",
        *(" & ".join(_latex_cell(cell) for cell in row) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _group_lines(table: Table) -> list[str]:
    """Headers that span the columns of their group, with a rule below each."""
    if not any(table.groups):
        return []
    cells, rules, column = [], [], 1
    for group, members in groupby(table.groups):
        width = len(list(members))
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(group)}}}" if group else " & ".join([""] * width))
        if group:
            rules.append(rf"\cmidrule(lr){{{column}-{column + width - 1}}}")
        column += width
    return [" & ".join(cells) + r" \\", " ".join(rules)]


def escape(text: str) -> str:
    """Text as LaTeX shows it; at the beginning of a row, `[` and `*` would belong to the end of the row before."""
    escaped = "".join(LATEX_ESCAPES.get(character, character) for character in text)
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped.startswith(("[", "*")) else escaped


def _latex_cell(cell: Cell) -> str:
    return rf"\textbf{{{escape(cell.text)}}}" if cell.best else escape(cell.text)


def _bold(cell: Cell, form: str) -> str:
    return form.format(cell.text) if cell.best and cell.text else cell.text
