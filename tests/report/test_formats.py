"""Tables as Markdown and LaTeX."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_points import NASTY, table_points

from segbench.report.formats import escape, latex, markdown
from segbench.report.study import TableSpec
from segbench.report.table import Table
from segbench.report.tables import tables


@given(st.text(alphabet="\\&%$#_{}~^<>|ab1", max_size=30))
def test_latex_is_escaped(text: str) -> None:
    bare = re.sub(
        r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}", "", escape(text)
    )
    assert not re.search(r"(?<!\\)[&%$#_{}~^<>|]", bare)


def nasty_tables() -> list[Table]:
    spec = TableSpec("latency", NASTY, ["channels"], "block", ["parameters", "latency", "ratio"], total="dw")
    return tables([spec], table_points(), "block")


def test_markdown_tables_have_equal_rows() -> None:
    lines = markdown(nasty_tables()[0]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert "**10**" in lines[2]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed (texlive-latex-recommended)")
def test_latex_compiles_with_a_minimal_document(tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(latex(nasty_tables()[0], "A note, 5% & more."))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\\input{table}\\end{document}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_latex_groups_span_their_columns() -> None:
    lines = latex(nasty_tables()[0]).splitlines()
    assert r" & \multicolumn{3}{c}{dw} & \multicolumn{3}{c}{stm} \\" in lines
    assert r"\cmidrule(lr){2-4} \cmidrule(lr){5-7}" in lines
    assert sum(line.endswith(r"\\") for line in lines) == 6
