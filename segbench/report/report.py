"""A study's report from its records: one self-contained page, and every table and plot as files beside it."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from segbench.base.files import write_text
from segbench.point.record import REPORT_PAGE, STATUSES, Record
from segbench.report.claims import Finding, findings
from segbench.report.commands import axes_of, command_of
from segbench.report.comparison import swept_keys
from segbench.report.formats import latex, markdown, spans
from segbench.report.nodes import Nodes, nodes
from segbench.report.plots import Plot, plots
from segbench.report.points import Point, in_words, load_points, machine_of, values_on, with_axes
from segbench.report.protocol import protocol
from segbench.report.quantity import LATENCY, RATIO
from segbench.report.reported import reported
from segbench.report.study import ReportSpec, parse, spec_for
from segbench.report.table import Table, plain_table
from segbench.report.tables import tables

MACHINE_FACTS = ("cpu", "host", "os", "cores_physical", "cores_logical", "memory_bytes", "simd", "accelerator")
RUN_FACTS = ("threads", "affinity", "python", "segbench", "commit", "uncommitted_changes", "packages")
LEGEND = (
    "Intervals are 95%. Bold: better than every other it is compared with, by more than the intervals leave open, and "
    "where there are ratios to a baseline, by these: medians of different points were taken at different times. "
    "= : not distinguishable from the baseline. ! : contended or unsteady."
)
SHORT_LEGEND = "95% intervals; bold: distinguishably the best; =: not distinguishable from the baseline; !: disturbed"


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    title: str
    question: str
    commands: list[str]
    ended: str
    findings: list[Finding]
    tables: list[Table]
    plots: list[Plot]
    reported: list[Table]
    protocol: str
    verdicts: Table
    not_measured: Table
    machines: dict[str, Table]
    nodes: Nodes | None
    config: str
    headline: dict[str, float]
    baselines: str
    broken: list[str]
    legend: str = LEGEND


def build_report(folders: Sequence[Path]) -> tuple[Report, list[str]]:
    """The report of the records below the folders, and why others cannot be read. `ValueError` where none can."""
    loaded, broken = load_points(folders)
    records = [point.record for point in loaded]
    described = _common_report(records)
    points = with_axes(loaded, swept_keys(records, axes_of(folders)), (described or {}).get("split"))
    title = " and ".join(dict.fromkeys(str(record.config.get("name", "sweep")) for record in records))
    spec = parse(described) if described else spec_for(points, title)
    decided = findings(spec.claims, points)
    report = Report(
        title=spec.title,
        question=spec.question,
        commands=[command for command in dict.fromkeys(map(command_of, folders)) if command],
        ended=_ended(records),
        findings=decided,
        tables=tables(spec.tables, points, spec.compare),
        plots=plots(spec.plots, points),
        reported=reported(spec.reported, points),
        protocol=protocol(records),
        verdicts=_verdicts(records),
        not_measured=_not_measured(points),
        machines={machine_of(record): _facts(record.environment) for record in reversed(records)},
        nodes=nodes(points),
        config=yaml.safe_dump(without_tracker(records[0].config), sort_keys=False, allow_unicode=True),
        headline=headline(spec, points, decided),
        baselines=_baselines(records),
        broken=broken,
    )
    return report, broken


def _common_report(records: Sequence[Record]) -> dict[str, Any] | None:
    """The report that all records describe; `None` where there is none, or different studies stand side by side."""
    first, *others = (record.config.get("report") for record in records)
    return first if all(other == first for other in others) else None


def write_report(report: Report, folder: Path) -> Path:
    """Write the page, the tables as CSV, Markdown and LaTeX, and the plots as PNG and PDF; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in report.tables:
        write_text(table.frame.to_csv(index=False), folder / f"{table.name}.csv")
        write_text(markdown(table), folder / f"{table.name}.md")
        write_text(latex(table, SHORT_LEGEND), folder / f"{table.name}.tex")
    for plot in report.plots:
        plot.save(folder)
    write_text(page(report), folder / REPORT_PAGE)
    return folder / REPORT_PAGE


def page(report: Report) -> str:
    """The page as HTML: no script, nothing loaded from elsewhere, every text escaped."""
    environment = Environment(
        loader=PackageLoader("segbench.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(report=report, spans=spans)


def without_tracker(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the address that records are sent to, which may hold a password."""
    return {key: value for key, value in config.items() if key != "tracker"}


def headline(spec: ReportSpec, points: Sequence[Point], decided: Sequence[Finding]) -> dict[str, float]:
    """The figures by which a study is known: how its claims fared, and geometric means for what it compares."""
    verdicts = Counter(finding.verdict for finding in decided)
    figures = {f"findings/{verdict.replace(' ', '_')}": float(number) for verdict, number in verdicts.items()}
    for value in values_on(points, spec.compare) if spec.compare else []:
        for shown in (RATIO, LATENCY):
            found = [point.estimate(shown) for point in points if point.value(str(spec.compare)) == value]
            known = [estimate.value for estimate in found if estimate and estimate.value > 0]
            if known:
                name = f"geometric_mean_{shown.metric.partition('/')[0]}/{_metric_name(value)}"
                figures[name] = math.exp(math.fsum(map(math.log, known)) / len(known))
    return figures


def _metric_name(value: Any) -> str:
    """A value as it may stand in a metric's name."""
    return "".join(character if character.isalnum() or character in "_-./" else "_" for character in str(value))


def _ended(records: Sequence[Record]) -> str:
    """How many points ended how, and when they were measured."""
    ended = Counter(record.status for record in records)
    counts = ", ".join(f"{ended[status]} {status}" for status in STATUSES if ended[status])
    first, last = (at(record.started for record in records)[:16].replace("T", " ") for at in (min, max))
    return f"{len(records)} points: {counts}. Measured {first} to {last} UTC."


def _baselines(records: Sequence[Record]) -> str:
    """What ratios and speed-ups are taken to, in one sentence."""
    changes = [record.config.get("baseline") for record in records]
    known = dict.fromkeys(in_words(each) for each in changes if each)
    return f"Ratios and speed-ups are to the same point with {', or '.join(known)}." if known else ""


def _verdicts(records: Sequence[Record]) -> Table:
    """How many points each verdict is true of, and of how many it is not."""
    ok = [record.verdicts for record in records if record.status == "ok"]
    judged = {name: [each[name] for each in ok if name in each] for name in dict.fromkeys(n for v in ok for n in v)}
    return plain_table(
        (
            {"verdict": name, "true": str(sum(values)), "false": str(len(values) - sum(values))}
            for name, values in judged.items()
        ),
        "Verdicts on the measurements",
    )


def _not_measured(points: Sequence[Point]) -> Table:
    return plain_table(
        ({"point": p.title, "status": p.record.status, "reason": str(p.record.reason)} for p in points if not p.ok),
        "Points without a measurement",
    )


def _facts(environment: dict[str, Any]) -> Table:
    """What a record keeps of its machine and its software."""
    shown = [key for key in (*MACHINE_FACTS, *RUN_FACTS) if environment.get(key) is not None]
    return plain_table({"fact": key.replace("_", " "), "value": _fact(environment[key])} for key in shown)


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
