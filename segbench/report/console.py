"""The tables that end a run: on the console, and as Markdown for a tracker's description."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segbench.point.record import Record, disturbed
from segbench.report.claims import Finding
from segbench.report.comparison import swept_keys
from segbench.report.rounding import count, interval, significant

WIDTH = 100
LATENCY = "latency_ms/median"
BEST = "*"
SAME = " ="
"""Marks a ratio that cannot be told from 1."""
DISTURBED = "!"
"""Marks a latency that was contended or unsteady."""


def console_width() -> int:
    """Columns that a table may use: those of the terminal, at least `WIDTH`."""
    return max(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)


@dataclass(frozen=True)
class Column:
    """One quantity of the table: the metric it shows, its header with the unit, and how it is written."""

    metric: str
    header: str
    text: Callable[[dict[str, float]], str]
    best: Callable[[Sequence[float]], float] | None = min


def _scaled(metric: str, unit: float) -> Callable[[dict[str, float]], str]:
    return lambda metrics: significant(metrics[metric] / unit)


def _latency(metrics: dict[str, float]) -> str:
    return interval(metrics["latency_ms/median"], metrics["latency_ms/ci95_low"], metrics["latency_ms/ci95_high"])


def _ratio(metrics: dict[str, float]) -> str:
    low, high = metrics["ratio_to_baseline/ci95_low"], metrics["ratio_to_baseline/ci95_high"]
    text = interval(metrics["ratio_to_baseline/median"], low, high)
    return text + SAME if low <= 1 <= high else text


def _speedup(metrics: dict[str, float]) -> str:
    names = ("median", "ci95_high", "ci95_low")
    middle, low, high = (1 / metrics[f"ratio_to_baseline/{name}"] for name in names)
    return interval(middle, low, high) + (SAME if low <= 1 <= high else "")


def _first_call(metrics: dict[str, float]) -> str:
    """Seconds, and whether the compiler found its code in its cache."""
    seconds = significant(metrics["first_call/seconds"], 3)
    if "first_call/cache_hits" not in metrics:
        return seconds
    warm = metrics["first_call/cache_hits"] and not metrics["first_call/cache_misses"]
    return f"{seconds} {'warm' if warm else 'cold'}"


SPEEDUP = Column("ratio_to_baseline/median", "speed-up\n[95% interval]", _speedup)
"""In the place of the ratio where modes are compared: so the encoder benchmark prints it."""
COLUMNS = (
    Column("parameters/deploy", "params\ndeploy", lambda m: count(m["parameters/deploy"])),
    Column("macs/thop", "MACs\n(M)", _scaled("macs/thop", 1e6)),
    Column("flops/torch", "FLOPs\n(M)", _scaled("flops/torch", 1e6)),
    Column("memory_bytes/peak_activation", "act. peak\n(KiB)", _scaled("memory_bytes/peak_activation", 1024)),
    Column("ratio_to_baseline/median", "ratio to baseline\n[95% interval]", _ratio),
    Column(LATENCY, "latency (ms)\nmedian [95% interval]", _latency),
    Column("throughput_img_s", "images/s", lambda m: significant(m["throughput_img_s"]), max),
    Column("error/vs_reference", "error", lambda m: f"{m['error/vs_reference']:.1e}", None),
    Column("first_call/seconds", "first call\n(s)", _first_call, None),
)

DISPENSABLE = ("flops/torch", "memory_bytes/peak_activation", "macs/thop", "throughput_img_s", "parameters/deploy")
"""Columns that a narrow console does without, in this order, after those that say the same of every point."""
WAYS = ("mode", "precision", "execution")
"""Where these are compared, so are errors."""


def columns_for(records: Sequence[Record]) -> list[Column]:
    """The columns that say something of these records."""
    keys = swept_keys(records)
    modes = any("mode" in record.parameters for record in records)
    columns = [SPEEDUP if modes and column.metric == SPEEDUP.metric else column for column in COLUMNS]
    errors = any(key in WAYS for key in keys)
    return [column for column in columns if errors or column.metric != "error/vs_reference"]


def _constant(records: Sequence[Record], columns: Sequence[Column]) -> list[str]:
    """The metrics that all points have alike, where there are several; never the latency or the ratio."""
    ok = [record for record in records if record.status == "ok"]
    exact = [column.metric for column in columns if column.metric not in (LATENCY, SPEEDUP.metric)]
    values = {metric: {record.metrics[metric] for record in ok if metric in record.metrics} for metric in exact}
    return [metric for metric in exact if len(ok) > 1 and len(values[metric]) == 1]


def rows(records: Sequence[Record], columns: Sequence[Column] | None = None) -> tuple[list[str], list[list[str]]]:
    """Headers and cells of the comparison: what was swept, then the quantities of `columns` that were measured.

    The best value of each column carries a star; a point that did not end ok shows its status for its latency.
    """
    keys = swept_keys(records) or [
        key for key in ("model", "model.encoder", "block", "channels") if any(key in r.parameters for r in records)
    ]
    columns = columns_for(records) if columns is None else columns
    ok = [record for record in records if record.status == "ok"]
    shown = [c for c in columns if c.metric == LATENCY or any(c.metric in record.metrics for record in ok)]
    best = {
        column.metric: column.best([record.metrics[column.metric] for record in ok if column.metric in record.metrics])
        for column in shown
        if ok and column.best
    }

    def cell(column: Column, record: Record) -> str:
        if record.status != "ok":
            return record.status + " " if column.metric == LATENCY else ""
        if column.metric not in record.metrics:
            return ""
        text = column.text(record.metrics)
        if column.metric == LATENCY and disturbed(record):
            text += DISTURBED
        return text + (BEST if record.metrics[column.metric] == best.get(column.metric) else " ")

    body = [
        [str(record.parameters.get(key, "")) for key in keys] + [cell(column, record) for column in shown]
        for record in records
    ]
    return [*keys, *(column.header for column in shown)], body


def print_comparison(records: Sequence[Record], console: Console) -> None:
    """Print the table, what the star means, and the reason of every point that did not end ok.

    Columns that a narrow console has no room for are left out, the least important first, and named.
    """
    columns, left_out = columns_for(records), []
    table = _table(records, columns)
    for metric in dict.fromkeys((*_constant(records, columns), *DISPENSABLE)):
        if _needed_width(table, console) <= console.width:
            break
        left_out.append(metric)
        columns = [column for column in columns if column.metric != metric]
        table = _table(records, columns)
    console.print(table)
    cells = [cell for line in rows(records)[1] for cell in line]
    starred = any(cell.endswith(BEST) for cell in cells)
    notes = [f"{BEST} best of its column"] if len(records) > 1 and starred else []
    notes += ["= not distinguishable from the baseline"] if any(SAME in cell for cell in cells) else []
    notes += [f"{DISTURBED} contended or unsteady"] if any(disturbed(record) for record in records) else []
    notes += [f"no room here for {', '.join(left_out)}: see comparison.csv"] if left_out else []
    if notes:
        console.print("; ".join(notes), style="dim", highlight=False)
    for record in records:
        if record.reason:
            name = " ".join(record.overrides) or "defaults"
            console.print(f"{name}: {record.status}: {record.reason}", markup=False, highlight=False, soft_wrap=True)


def print_findings(found: Sequence[Finding], console: Console) -> None:
    """Print how each claim fared; the report has the evidence."""
    for finding in found:
        console.print(f"{finding.verdict}: {finding.claim}", markup=False, highlight=False, soft_wrap=True)


def _needed_width(table: Table, console: Console) -> int:
    unlimited = console.options.update(width=10 * WIDTH, max_width=10 * WIDTH)
    return console.measure(table, options=unlimited).maximum


def _table(records: Sequence[Record], columns: Sequence[Column]) -> Table:
    headers, body = rows(records, columns)
    return simple_table(headers, body, {column.header for column in columns})


def simple_table(headers: Sequence[str], body: Sequence[Sequence[str]], right: set[str] | None = None) -> Table:
    """A table without lines; cells that carry a star are green. `right` names the columns of figures.

    Without `right`, columns of which every cell begins with a digit are figures.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    for index, header in enumerate(headers):
        figures = header in right if right is not None else all(row[index][:1].isdigit() for row in body)
        table.add_column(header, justify="right" if figures else "left", overflow="fold")
    for cells in body:
        table.add_row(*(f"[bold green]{escape(c)}[/]" if c.endswith(BEST) else escape(c) for c in cells))
    return table


def markdown(records: Sequence[Record]) -> str:
    """The comparison as a Markdown table."""
    headers, body = rows(records)
    lines = [[header.replace("\n", " ").strip() for header in headers], ["---"] * len(headers), *body]
    return "\n".join("| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines)
