"""What `analysis=full` found: CSV files and plots in the point's folder, and the tables on the console."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from segbench.base.files import write_text
from segbench.point.record import ANALYSIS_FOLDER
from segbench.report.analysis_plots import breakdown, roofline, working_sets
from segbench.report.console import print_line, print_table
from segbench.report.rounding import count, interval, significant
from segbench.report.table import Table, plain_table

LONGEST = 15
"""Rows of a table on the console; the file has them all."""
KIB = 1024
TEXTS = ("path", "module_type", "note", "input_shapes", "output_shape", "operator", "level", "bound")
"""Columns that hold texts, also where they are empty."""


def write(tables: Mapping[str, Sequence[Mapping[str, Any]]], metrics: Mapping[str, float], folder: Path) -> None:
    """Write the tables and the plots that there are rows for into `folder`/analysis."""
    target = folder / ANALYSIS_FOLDER
    target.mkdir(exist_ok=True)
    frames = {name: pd.DataFrame(list(rows)) for name, rows in tables.items()}
    for name, frame in frames.items():
        write_text(frame.to_csv(index=False), target / f"{name}.csv")
    operators, components = frames["operators"], frames["components"]
    if len(operators) and metrics["flops/audited"] and metrics["memory_bytes/moved"]:
        roofline(operators, metrics, target / "roofline.png")
    if len(operators) and metrics["memory_bytes/moved"]:
        working_sets(operators, metrics, target / "working_set.png")
    if len(components):
        breakdown(components, target / "breakdown.png")


def print_analysis(folder: Path, metrics: Mapping[str, float], console: Console) -> None:
    """Print where the time, the FLOPs and the bytes go."""
    target = folder / ANALYSIS_FOLDER
    components, counts, operators = (_read(target / f"{name}.csv") for name in ("components", "counts", "operators"))
    if len(components):
        print_table("Parts, each on its own inputs", _components(components), console)
        whole = 100 * components["share"].sum()
        console.print(f"Together {whole:.0f}%: the rest lies between the parts, or in other caches.", highlight=False)
    if operators.empty:
        console.print("The step moves no data: all its operators are views.", highlight=False)
        return
    print_table("Counts by the type of the innermost module", _counts(counts), console)
    title = f"Working sets, the {min(LONGEST, len(operators))} largest of {len(operators)} operators"
    print_table(title, _operators(operators), console)
    for line in _summary(operators, metrics):
        console.print(line, markup=False, highlight=False)
    print_line(f"Tables and plots: {target}", console)


def _summary(operators: pd.DataFrame, metrics: Mapping[str, float]) -> list[str]:
    """Where the memory peaks, what the step attains, and what could not be counted."""
    size = significant(metrics["memory_bytes/peak_activation"] / KIB)
    lines = [
        f"Peak: {size} KiB alive at operator {row['index']}, {' '.join(filter(None, (row['path'], row['operator'])))}."
        for row in operators[operators["peak"]].to_dict("records")
    ]
    lines.append(
        f"Attained: {significant(metrics['roofline/attained_gflop_s'])} GFLOP/s, "
        f"{significant(metrics['roofline/attained_gb_s'])} GB/s; {significant(100 * metrics['roofline/share'])}% of "
        "what the operators' bytes and FLOPs allow on this machine."
    )
    uncounted = operators[operators["flops"].isna()]["operator"].unique()
    return [*lines, f"No FLOP rule, not counted: {', '.join(uncounted)}"] if len(uncounted) else lines


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str)).fillna(dict.fromkeys(TEXTS, ""))
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def _components(frame: pd.DataFrame) -> Table:
    return plain_table(
        {
            "part": row["path"],
            "type": row["module_type"],
            "calls": row["calls"],
            "ms": significant(row["latency_ms"]),
            "share (%) [95% interval]": interval(
                *(100 * row[key] for key in ("share", "share_ci95_low", "share_ci95_high"))
            ),
        }
        for row in frame.sort_values("share", ascending=False).head(LONGEST).to_dict("records")
    )


def _counts(frame: pd.DataFrame) -> Table:
    return plain_table(
        {
            "type": row["module_type"],
            "thop MACs": count(row["macs_thop"]),
            "torch FLOPs": count(row["flops_torch"]),
            "audited FLOPs": count(row["flops_audited"]),
            "": row["note"],
        }
        for row in frame.to_dict("records")
    )


def _operators(frame: pd.DataFrame) -> Table:
    return plain_table(
        {
            "module": row["path"],
            "operator": row["operator"],
            "result": row["output_shape"],
            "KiB": significant(row["working_set_bytes"] / KIB),
            "in": row["level"],
            "FLOPs/B": significant(row["intensity"]),
            "bound": row["bound"],
        }
        for row in frame.sort_values("working_set_bytes", ascending=False).head(LONGEST).to_dict("records")
    )
