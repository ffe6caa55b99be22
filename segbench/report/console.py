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
from segbench.report.table import BEST, MEANINGS, Cell, Column, Table, figure_cell

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
ALWAYS = (LATENCY.metric, RATIO.metric)
DISPENSABLE = ("flops/torch", "memory_bytes/peak_activation", "macs/thop", "throughput_img_s", "parameters/deploy")
"""Columns that a narrow console does without, in this order, after those that say the same of every point."""
WAYS = {"mode", "precision", "execution"}
"""Where these are compared, so are errors."""
UNSWEPT = ("model", "model.encoder", "block", "channels")
"""What names the point where nothing was swept."""


def console_width() -> int:
    """Columns that a table may use: those of the terminal, at least `WIDTH`."""
    return max(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)


def comparison_table(records: Sequence[Record], keys: Sequence[str], left_out: Sequence[str] = ()) -> Table:
    """What was swept, then the quantities that say something; the best value of each column is marked."""
    measured = {metric for record in records if record.status == "ok" for metric in record.metrics} | {LATENCY.metric}
    measured -= {*left_out} if WAYS.intersection(keys) else {*left_out, "error/vs_reference"}
    modes = any("mode" in record.parameters for record in records)
    quantities = [SPEEDUP_COLUMN if modes and q.metric == RATIO.metric else q for q in COLUMNS if q.metric in measured]
    keys = keys or [key for key in UNSWEPT if any(key in record.parameters for record in records)]
    heads = [*(Column(key, is_text=True) for key in keys), *(Column(quantity.title) for quantity in quantities)]
    cells = [[Cell(str(record.parameters.get(key, ""))) for record in records] for key in keys]
    cells += [_cells(quantity, records) for quantity in quantities]
    return Table(heads, list(zip(*cells, strict=True)))


def _cells(quantity: Quantity, records: Sequence[Record]) -> list[Cell]:
    """A column: its figures, the best of several marked; how a point ended stands for its latency."""
    found = [quantity.estimate(record.metrics) if record.status == "ok" else None for record in records]
    values = [estimate.value for estimate in found if estimate]
    choose = {True: min, False: max, None: None}[quantity.lower_is_better]
    best = choose(values) if choose and len(values) > 1 else None
    return [
        figure_cell(quantity, record, estimate is not None and estimate.value == best)
        if estimate or quantity.metric == LATENCY.metric
        else Cell("")
        for record, estimate in zip(records, found, strict=True)
    ]


def print_comparison(records: Sequence[Record], console: Console, axes: Sequence[str] | None = None) -> None:
    """Print the table, what its marks mean, and the reason of every point that did not end ok.

    Columns that a narrow console has no room for are left out, the least important first, and named.
    """
    keys = swept_keys(records, axes)
    left_out: list[str] = []
    table = comparison_table(records, keys)
    for metric in dict.fromkeys((*_constant(records), *DISPENSABLE)):
        if _needed_width(table, console) <= console.width:
            break
        narrower = comparison_table(records, keys, [*left_out, metric])
        if len(narrower.columns) < len(table.columns):
            table = narrower
            left_out.append(metric)
    console.print(formats.rich_table(table))
    used = {sign for row in table.rows for cell in row for sign in (*cell.signs, BEST if cell.best else "")}
    notes = [f"{sign} {meaning}" for sign, meaning in MEANINGS.items() if sign in used]
    notes += [f"no room here for {', '.join(left_out)}: see comparison.csv"] if left_out else []
    if notes:
        console.print("; ".join(notes), style="dim", highlight=False)
    for record in records:
        if record.reason:
            print_line(f"{' '.join(record.overrides) or 'defaults'}: {record.status}: {record.reason}", console)


def _constant(records: Sequence[Record]) -> list[str]:
    """The metrics that all of several points have alike; never the latency or the ratio."""
    ok = [record.metrics for record in records if record.status == "ok"]
    metrics = [quantity.metric for quantity in COLUMNS if quantity.metric not in ALWAYS]
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


def markdown(records: Sequence[Record], axes: Sequence[str] | None = None) -> str:
    """The comparison as a Markdown table."""
    return formats.markdown(comparison_table(records, swept_keys(records, axes)))
