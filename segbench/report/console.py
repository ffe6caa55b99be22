"""The table that ends a run: on the console, and as Markdown for a tracker's description."""

import shutil
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from segbench.point.record import Record
from segbench.report import formats
from segbench.report.claims import Finding
from segbench.report.comparison import swept_keys
from segbench.report.quantity import LATENCY, QUANTITIES, RATIO, SPEEDUP, Quantity
from segbench.report.table import SIGNS, Cell, Column, Mark, Table, figure_cell

WIDTH = 100
SPEEDUP_COLUMN = replace(SPEEDUP, label="speed-up\n[95% interval]")
"""In the place of the ratio where modes are compared: so the encoder benchmark prints it."""
COLUMNS = (
    replace(QUANTITIES["parameters"], label="params\ndeploy"),
    replace(QUANTITIES["macs"], label="MACs\n(M)", unit=""),
    replace(QUANTITIES["flops_torch"], label="FLOPs\n(M)", unit=""),
    replace(QUANTITIES["peak_activation"], label="act. peak\n(KiB)", unit="", scale=1024),
    replace(RATIO, label="ratio to baseline\n[95% interval]"),
    replace(LATENCY, label="latency (ms)\nmedian [95% interval]", unit=""),
    replace(QUANTITIES["throughput"], label="images/s", unit="", derive=None),
    replace(QUANTITIES["error"], label="error", lower_is_better=None),
    replace(QUANTITIES["first_call"], label="first call\n(s)", unit="", lower_is_better=None),
)
"""The quantities of the table, under headers of two lines."""
ALWAYS = (LATENCY.metric, RATIO.metric, SPEEDUP.metric)
DISPENSABLE = ("flops/torch", "memory_bytes/peak_activation", "macs/thop", "throughput_img_s", "parameters/deploy")
"""Columns that a narrow console does without, in this order, after those that say the same of every point."""
WAYS = ("mode", "precision", "execution")
"""Where these are compared, so are errors."""
UNSWEPT = ("model", "model.encoder", "block", "channels")
"""What names the point where nothing was swept."""


def console_width() -> int:
    """Columns that a table may use: those of the terminal, at least `WIDTH`."""
    return max(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)


def comparison_table(records: Sequence[Record], quantities: Sequence[Quantity], keys: Sequence[str]) -> Table:
    """What was swept, then the quantities; the best value of each column is marked."""
    keys = keys or [key for key in UNSWEPT if any(key in record.parameters for record in records)]
    rows = [[Cell(str(record.parameters.get(key, ""))) for key in keys] for record in records]
    for quantity in quantities:
        for row, cell in zip(rows, _cells(quantity, records), strict=True):
            row.append(cell)
    return Table([*(Column(key, is_text=True) for key in keys), *(Column(q.title) for q in quantities)], rows)


def _quantities(records: Sequence[Record], keys: Sequence[str]) -> list[Quantity]:
    """The quantities that say something of these records."""
    measured = {metric for record in records if record.status == "ok" for metric in record.metrics} | {LATENCY.metric}
    if not any(key in WAYS for key in keys):
        measured.discard("error/vs_reference")
    modes = any("mode" in record.parameters for record in records)
    found = [quantity for quantity in COLUMNS if quantity.metric in measured]
    return [SPEEDUP_COLUMN if modes and quantity.metric == RATIO.metric else quantity for quantity in found]


def _cells(quantity: Quantity, records: Sequence[Record]) -> list[Cell]:
    """A column: its figures, the best of several marked; how a point ended stands for its latency."""
    found = [quantity.estimate(record.metrics) if record.status == "ok" else None for record in records]
    values = [estimate.value for estimate in found if estimate]
    best = None
    if quantity.lower_is_better is not None and len(values) > 1:
        best = min(values) if quantity.lower_is_better else max(values)
    return [
        figure_cell(quantity, record).as_best(estimate is not None and estimate.value == best)
        if record.status == "ok" or quantity.metric == LATENCY.metric
        else Cell("")
        for record, estimate in zip(records, found, strict=True)
    ]


def print_comparison(records: Sequence[Record], console: Console, axes: Sequence[str] | None = None) -> None:
    """Print the table, what its marks mean, and the reason of every point that did not end ok.

    Columns that a narrow console has no room for are left out, the least important first, and named.
    """
    keys, left_out = swept_keys(records, axes), []
    quantities = _quantities(records, keys)
    table = comparison_table(records, quantities, keys)
    for metric in dict.fromkeys((*_constant(records, quantities), *DISPENSABLE)):
        if _needed_width(table, console) <= console.width:
            break
        if metric in (quantity.metric for quantity in quantities):
            left_out.append(metric)
            quantities = [quantity for quantity in quantities if quantity.metric != metric]
            table = comparison_table(records, quantities, keys)
    console.print(formats.rich_table(table))
    signs = {Mark.BEST: formats.STAR} | SIGNS
    notes = [f"{sign} {mark.value}" for mark, sign in signs.items() if mark in table.marks]
    notes += [f"no room here for {', '.join(left_out)}: see comparison.csv"] if left_out else []
    if notes:
        console.print("; ".join(notes), style="dim", highlight=False)
    for record in records:
        if record.reason:
            print_line(f"{' '.join(record.overrides) or 'defaults'}: {record.status}: {record.reason}", console)


def _constant(records: Sequence[Record], quantities: Sequence[Quantity]) -> list[str]:
    """The metrics that all of several points have alike; never the latency or the ratio."""
    ok = [record.metrics for record in records if record.status == "ok"]
    metrics = [quantity.metric for quantity in quantities if quantity.metric not in ALWAYS]
    return [m for m in metrics if len(ok) > 1 and len({found[m] for found in ok if m in found}) == 1]


def _needed_width(table: Table, console: Console) -> int:
    unlimited = console.options.update(width=10 * WIDTH, max_width=10 * WIDTH)
    return console.measure(formats.rich_table(table), options=unlimited).maximum


def print_findings(found: Sequence[Finding], console: Console) -> None:
    """Print how each claim fared; the report has the evidence."""
    for finding in found:
        print_line(f"{finding.verdict}: {finding.claim}", console)


def print_line(text: str, console: Console) -> None:
    """Print a text as it is, in one line however narrow the console."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_table(title: str, table: Table, console: Console) -> None:
    """Print a table under its title."""
    console.print(f"[bold]{title}[/]", highlight=False)
    console.print(formats.rich_table(table))


def markdown(records: Sequence[Record], axes: Sequence[str] | None = None) -> str:
    """The comparison as a Markdown table."""
    keys = swept_keys(records, axes)
    return formats.markdown(comparison_table(records, _quantities(records, keys), keys))
