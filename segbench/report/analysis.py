"""What `analysis=full` found: CSV files and plots in the point's folder, and the tables on the console."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from segbench.base.files import write_text
from segbench.point.record import ANALYSIS_FOLDER
from segbench.report.analysis_plots import breakdown, roofline, working_sets
from segbench.report.console import print_line
from segbench.report.formats import rich_table
from segbench.report.rounding import count, interval, significant
from segbench.report.table import plain_table

LONGEST = 15
"""Rows of a table on the console; the file has them all."""
KIB = 1024
TEXTS = ("path", "module_type", "note", "input_shapes", "output_shape", "operator", "level", "bound")
"""Columns that hold texts, also where they are empty."""
Shown = Mapping[str, tuple[str, Callable[[Any], str]]]
"""The headers of a table on the console, each with its column in the file and how its values are written."""
COMPONENTS: Shown = {
    "part": ("path", str),
    "type": ("module_type", str),
    "calls": ("calls", count),
    "ms": ("latency_ms", significant),
    "share (%) [95% interval]": ("interval", str),
}
COUNTS: Shown = {
    "type": ("module_type", str),
    "thop MACs": ("macs_thop", count),
    "torch FLOPs": ("flops_torch", count),
    "audited FLOPs": ("flops_audited", count),
    "": ("note", str),
}
OPERATORS: Shown = {
    "module": ("path", str),
    "operator": ("operator", str),
    "result": ("output_shape", str),
    "KiB": ("working_set_bytes", lambda size: significant(size / KIB)),
    "in": ("level", str),
    "FLOPs/B": ("intensity", significant),
    "bound": ("bound", str),
}


def write(tables: Mapping[str, Sequence[Mapping[str, Any]]], metrics: Mapping[str, float], folder: Path) -> None:
    """Write the tables and the plots that there are rows for into `folder`/analysis."""
    target = folder / ANALYSIS_FOLDER
    target.mkdir(exist_ok=True)
    frames = {name: pd.DataFrame(list(rows)) for name, rows in tables.items()}
    for name, frame in frames.items():
        write_text(frame.to_csv(index=False), target / f"{name}.csv")
    operators, components = frames["operators"], frames["components"]
    if len(operators) and metrics["memory_bytes/moved"]:
        working_sets(operators, metrics, target / "working_set.png")
        if metrics["flops/audited"]:
            roofline(operators, metrics, target / "roofline.png")
    if len(components):
        breakdown(components, target / "breakdown.png")


def print_analysis(folder: Path, metrics: Mapping[str, float], console: Console) -> None:
    """Print where the time, the FLOPs and the bytes go."""
    target = folder / ANALYSIS_FOLDER
    components, counts, operators = (_read(target / f"{name}.csv") for name in ("components", "counts", "operators"))
    if len(components):
        shares = 100 * components[["share", "share_ci95_low", "share_ci95_high"]]
        largest = components.assign(interval=[interval(*row) for row in shares.to_numpy()])
        largest = largest.sort_values("share", ascending=False).head(LONGEST)
        _print_table("Parts, each on its own inputs", largest, COMPONENTS, console)
        whole = 100 * components["share"].sum()
        console.print(f"Together {whole:.0f}%: the rest lies between the parts, or in other caches.", highlight=False)
    if operators.empty:
        console.print("The step moves no data: all its operators are views.", highlight=False)
        return
    _print_table("Counts by the type of the innermost module", counts, COUNTS, console)
    largest = operators.sort_values("working_set_bytes", ascending=False).head(LONGEST)
    title = f"Working sets, the {len(largest)} largest of {len(operators)} operators"
    _print_table(title, largest, OPERATORS, console)
    for line in _summary(operators, metrics):
        console.print(line, markup=False, highlight=False)
    print_line(f"Tables and plots: {target}", console)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str)).fillna(dict.fromkeys(TEXTS, ""))
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def _print_table(title: str, frame: pd.DataFrame, shown: Shown, console: Console) -> None:
    rows = [{head: written(row[name]) for head, (name, written) in shown.items()} for row in frame.to_dict("records")]
    console.print(f"[bold]{title}[/]", highlight=False)
    console.print(rich_table(plain_table(rows)))


def _summary(operators: pd.DataFrame, metrics: Mapping[str, float]) -> Iterator[str]:
    """Where the memory peaks, what the step attains, and what could not be counted."""
    size = significant(metrics["memory_bytes/peak_activation"] / KIB)
    for row in operators[operators["peak"]].to_dict("records"):
        place = f"{row['path']} {row['operator']}"
        yield f"Peak: {size} KiB alive at operator {row['index']}, {place.strip()}."
    yield (
        f"Attained: {significant(metrics['roofline/attained_gflop_s'])} GFLOP/s, "
        f"{significant(metrics['roofline/attained_gb_s'])} GB/s; {significant(100 * metrics['roofline/share'])}% of "
        "what the operators' bytes and FLOPs allow on this machine."
    )
    uncounted = operators[operators["flops"].isna()]["operator"].unique()
    if len(uncounted):
        yield f"No FLOP rule, not counted: {', '.join(uncounted)}"
