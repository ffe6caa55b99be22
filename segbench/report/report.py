"""A study's report from its records: one self-contained page, and every table and plot as files beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from segbench.base.files import write_text
from segbench.point.record import REPORT_PAGE, STATUSES, Record
from segbench.report.claims import Finding, findings
from segbench.report.commands import command_of
from segbench.report.export import latex, markdown
from segbench.report.nodes import Nodes, nodes
from segbench.report.points import Point, load_points, machine_of, values_on, with_axes
from segbench.report.protocol import protocol
from segbench.report.quantity import QUANTITIES
from segbench.report.reported import Reported, reported
from segbench.report.study import ReportSpec, parse, spec_for
from segbench.report.study_plots import Plot, plots
from segbench.report.tables import Table, tables

MACHINE_FACTS = ("cpu", "host", "os", "cores_physical", "cores_logical", "memory_bytes", "simd", "accelerator")
MACHINE_FACTS_OF_RUN = ("threads", "affinity", "python", "segbench", "commit", "uncommitted_changes", "packages")
LEGEND = (
    "Intervals are 95%. Bold: better than every other it is compared with, by more than the intervals leave open, and "
    "where there are ratios to a baseline, by these: medians of different points were taken at different times. "
    "= : not distinguishable from the baseline. ! : contended or unsteady."
)
SHORT_LEGEND = "95% intervals; bold: distinguishably the best; =: not distinguishable from the baseline; !: disturbed"


@dataclass(frozen=True)
class Machine:
    """A machine's name and the facts that the records keep of it."""

    name: str
    facts: list[tuple[str, str]]


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    title: str
    question: str
    commands: list[str]
    ended: str
    dates: str
    findings: list[Finding]
    tables: list[Table]
    plots: list[Plot]
    reported: list[Reported]
    protocol: str
    verdicts: list[tuple[str, int, int]]
    not_measured: list[tuple[str, str, str]]
    machines: list[Machine]
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
    title = " and ".join(dict.fromkeys(str(record.config.get("name", "sweep")) for record in records))
    points = with_axes(loaded, (described or {}).get("split"))
    spec = parse(described) if described else spec_for(points, title)
    report = Report(
        title=spec.title,
        question=spec.question,
        commands=[command for command in dict.fromkeys(command_of(folder) for folder in folders) if command],
        baselines=_baselines(records),
        broken=broken,
        ended=_ended(records),
        dates=_dates(records),
        findings=findings(spec.claims, points),
        tables=tables(spec.tables, points, spec.compare),
        plots=plots(spec.plots, points),
        reported=reported(spec.reported, points),
        protocol=protocol(records),
        verdicts=_verdicts(records),
        not_measured=[
            (_name(point), point.record.status, str(point.record.reason)) for point in points if not point.ok
        ],
        machines=_machines(records),
        nodes=nodes(points),
        config=yaml.safe_dump(without_tracker(records[0].config), sort_keys=False, allow_unicode=True),
        headline=headline(spec, points),
    )
    return report, broken


def _common_report(records: Sequence[Record]) -> dict[str, Any] | None:
    """The report that all records describe; `None` where there is none, or different studies stand side by side."""
    described: list[dict[str, Any] | None] = []
    for record in records:
        if record.config.get("report") not in described:
            described.append(record.config.get("report"))
    return described[0] if len(described) == 1 else None


def _baselines(records: Sequence[Record]) -> str:
    """What ratios and speed-ups are taken to, in one sentence."""
    known = dict.fromkeys(
        " ".join(f"{key}={value}" for key, value in record.config["baseline"].items())
        for record in records
        if record.config.get("baseline")
    )
    return f"Ratios and speed-ups are to the same point with {', or '.join(known)}." if known else ""


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
    return environment.get_template("page.html.jinja").render(report=report, spans=_spans)


def without_tracker(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the address that records are sent to, which may hold a password."""
    return {key: value for key, value in config.items() if key != "tracker"}


def _spans(table: Table) -> list[tuple[str, int]]:
    """The groups above the header with how many columns each spans."""
    return [(group, len(list(members))) for group, members in groupby(table.groups)]


def headline(spec: ReportSpec, points: Sequence[Point]) -> dict[str, float]:
    """The figures by which a study is known: how its claims fared, and geometric means for what it compares."""
    decided = Counter(finding.verdict for finding in findings(spec.claims, points))
    figures = {f"findings/{verdict.replace(' ', '_')}": float(number) for verdict, number in decided.items()}
    for value in values_on(points, spec.compare) if spec.compare else []:
        for name in ("ratio", "latency"):
            of = QUANTITIES[name]
            found = [of.of(p.record.metrics) for p in points if p.ok and p.value(str(spec.compare)) == value]
            known = [estimate.value for estimate in found if estimate is not None]
            if known:
                mean = math.exp(math.fsum(map(math.log, known)) / len(known))
                figures[f"geometric_mean_{of.metric.partition('/')[0]}/{_metric_name(value)}"] = mean
    return figures


def _metric_name(value: Any) -> str:
    """A value as it may stand in a metric's name."""
    return "".join(character if character.isalnum() or character in "_-./" else "_" for character in str(value))


def _name(point: Point) -> str:
    return " ".join(f"{key}={value}" for key, value in point.axes.items() if value != "") or point.name


def _ended(records: Sequence[Record]) -> str:
    ended = Counter(record.status for record in records)
    parts = [f"{ended[status]} {status}" for status in STATUSES if ended[status]]
    return f"{len(records)} points: {', '.join(parts)}."


def _dates(records: Sequence[Record]) -> str:
    first, last = min(r.started for r in records), max(r.started for r in records)
    return f"Measured {first[:16].replace('T', ' ')} to {last[:16].replace('T', ' ')} UTC"


def _verdicts(records: Sequence[Record]) -> list[tuple[str, int, int]]:
    ok = [record.verdicts for record in records if record.status == "ok"]
    names = dict.fromkeys(name for verdicts in ok for name in verdicts)
    counted = {name: [verdicts[name] for verdicts in ok if name in verdicts] for name in names}
    return [(name, sum(values), len(values) - sum(values)) for name, values in counted.items()]


def _machines(records: Sequence[Record]) -> list[Machine]:
    first = {machine_of(record): record.environment for record in reversed(records)}
    return [Machine(name, [*_facts(found)]) for name, found in first.items()]


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    shown = [key for key in (*MACHINE_FACTS, *MACHINE_FACTS_OF_RUN) if found.get(key) is not None]
    return [(key.replace("_", " "), _fact(found[key])) for key in shown]


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
