"""What `analysis=full` found: CSV files and plots in the point's folder, and the tables on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from segbench.base.files import write_text
from segbench.point.record import ANALYSIS_FOLDER
from segbench.report.console import simple_table
from segbench.report.plots import breakdown, roofline, working_sets
from segbench.report.rounding import count, interval, significant

LONGEST = 15
"""Rows of a table on the console; the file has them all."""
KIB = 1024
TEXTS = ("path", "module_type", "note", "input_shapes", "output_shape")
"""Columns that may be empty throughout, and are texts all the same."""
SHARE = ("share", "share_ci95_low", "share_ci95_high")


def write(tables: Mapping[str, Sequence[Mapping[str, Any]]], metrics: Mapping[str, float], folder: Path) -> None:
    """Write the tables and the plots that there are rows for into `folder`/analysis."""
    target = folder / ANALYSIS_FOLDER
    target.mkdir(exist_ok=True)
    frames = {name: pd.DataFrame(list(rows)) for name, rows in tables.items()}
    for name, frame in frames.items():
        write_text(frame.to_csv(index=False), target / f"{name}.csv")
    if len(frames["operators"]) and metrics["flops/audited"] and metrics["memory_bytes/moved"]:
        roofline(frames["operators"], metrics, target / "roofline.png")
    if len(frames["operators"]) and metrics["memory_bytes/moved"]:
        working_sets(frames["operators"], metrics, target / "working_set.png")
    if len(frames["components"]):
        breakdown(frames["components"], target / "breakdown.png")


def print_analysis(folder: Path, metrics: Mapping[str, float], console: Console) -> None:
    """Print where the time, the FLOPs and the bytes go."""
    target = folder / ANALYSIS_FOLDER
    components, counts, operators = (_read(target / f"{name}.csv") for name in ("components", "counts", "operators"))
    if len(components):
        print_rows("Parts, each on its own inputs", _component_cells(components), console)
        whole = 100 * components["share"].sum()
        console.print(f"Together {whole:.0f}%: the rest lies between the parts, or in other caches.", highlight=False)
    if operators.empty:
        console.print("The step moves no data: all its operators are views.", highlight=False)
        return
    print_rows("Counts by the type of the innermost module", _count_cells(counts), console)
    largest = operators.sort_values("working_set_bytes", ascending=False)
    title = f"Working sets, the {min(LONGEST, len(operators))} largest of {len(operators)} operators"
    print_rows(title, _operator_cells(largest.head(LONGEST)), console)
    peak = _records(operators[operators["peak"]])
    for row in peak:
        place = f"{row['path']} {row['operator']}".strip()
        size = significant(metrics["memory_bytes/peak_activation"] / KIB)
        console.print(f"Peak: {size} KiB alive at operator {row['index']}, {place}.", highlight=False)
    attained, share = metrics["roofline/attained_gflop_s"], 100 * metrics["roofline/share"]
    console.print(
        f"Attained: {significant(attained)} GFLOP/s, {significant(metrics['roofline/attained_gb_s'])} GB/s; "
        f"{significant(share)}% of what the operators' bytes and FLOPs allow on this machine.",
        highlight=False,
    )
    uncounted = operators[operators["flops"].isna()]["operator"].unique()
    if len(uncounted):
        console.print(f"No FLOP rule, not counted: {', '.join(uncounted)}", highlight=False)
    console.print(f"Tables and plots: {target}", markup=False, highlight=False, soft_wrap=True)


def print_rows(title: str, cells: Sequence[Mapping[str, str]], console: Console) -> None:
    """A titled table of equal rows; the first column is text."""
    table = simple_table(list(cells[0]) if cells else [], [list(row.values()) for row in cells])
    console.print(f"[bold]{title}[/]", highlight=False)
    console.print(table)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str))
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    texts = frame.select_dtypes(exclude="number").columns
    return [
        {str(key): value for key, value in row.items()}
        for row in frame.fillna(dict.fromkeys(texts, "")).to_dict("records")
    ]


def _component_cells(frame: pd.DataFrame) -> list[dict[str, str]]:
    shown = frame.sort_values("share", ascending=False).head(LONGEST)
    return [
        {
            "part": str(row["path"]),
            "type": str(row["module_type"]),
            "calls": str(row["calls"]),
            "ms": significant(row["latency_ms"]),
            "share (%) [95% interval]": interval(*(100 * row[key] for key in SHARE)),
        }
        for row in _records(shown)
    ]


def _count_cells(frame: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "type": str(row["module_type"]),
            "thop MACs": count(row["macs_thop"]),
            "torch FLOPs": count(row["flops_torch"]),
            "audited FLOPs": count(row["flops_audited"]),
            "": str(row["note"]),
        }
        for row in _records(frame)
    ]


def _operator_cells(frame: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "module": str(row["path"]),
            "operator": str(row["operator"]),
            "result": str(row["output_shape"]),
            "KiB": significant(row["working_set_bytes"] / KIB),
            "in": str(row["level"]),
            "FLOPs/B": significant(row["intensity"]),
            "bound": str(row["bound"]),
        }
        for row in _records(frame)
    ]
