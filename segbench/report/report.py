"""A study's report from its records: one self-contained page, and every table and plot as files beside it."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from segbench.base.files import write_text
from segbench.point.record import REPORT_PAGE, STATUSES, Record
from segbench.report.claims import Finding, findings
from segbench.report.commands import axes_of, command_of
from segbench.report.comparison import swept_keys
from segbench.report.formats import latex, markdown, rendered, spans
from segbench.report.nodes import Nodes, nodes
from segbench.report.plots import Plot, plots
from segbench.report.points import Point, as_list, in_words, load_points, machine_of, values_on, with_axes
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
    """Everything that the page shows, from a study's description and its points."""

    spec: ReportSpec
    points: Sequence[Point]
    commands: Sequence[str]
    broken: Sequence[str]
    """Why some records could not be read."""

    @cached_property
    def records(self) -> list[Record]:
        """The points' records."""
        return [point.record for point in self.points]

    @cached_property
    def findings(self) -> list[Finding]:
        """The study's claims, decided."""
        return findings(self.spec.claims, self.points)

    @cached_property
    def tables(self) -> list[Table]:
        """The study's tables."""
        return tables(self.spec.tables, self.points, self.spec.compare)

    @cached_property
    def plots(self) -> list[Plot]:
        """The study's plots."""
        return plots(self.spec.plots, self.points)

    @cached_property
    def reported(self) -> list[Table]:
        """What others published of the same settings."""
        return reported(self.spec.reported, self.points)

    @cached_property
    def nodes(self) -> Nodes | None:
        """How far the nodes of a cluster agree."""
        return nodes(self.points)

    @property
    def protocol(self) -> str:
        """The paragraph on the measurement."""
        return protocol(self.records)

    @property
    def ended(self) -> str:
        """How many points ended how, and when they were measured."""
        ended = Counter(record.status for record in self.records)
        counts = ", ".join(f"{ended[status]} {status}" for status in STATUSES if ended[status])
        first, last = (end(r.started for r in self.records)[:16].replace("T", " ") for end in (min, max))
        return f"{len(self.records)} points: {counts}. Measured {first} to {last} UTC."

    @property
    def legend(self) -> str:
        """What the marks mean, and what ratios and speed-ups are taken to."""
        changes = [record.config.get("baseline") for record in self.records]
        known = dict.fromkeys(in_words(each) for each in changes if each)
        return LEGEND + (f" Ratios and speed-ups are to the same point with {', or '.join(known)}." if known else "")

    @property
    def verdicts(self) -> Table:
        """Of how many points each verdict is true, and of how many it is not."""
        judged: dict[str, list[bool]] = {}
        for name, verdict in (item for r in self.records if r.status == "ok" for item in r.verdicts.items()):
            judged.setdefault(name, []).append(verdict)
        rows = ({"verdict": n, "true": found.count(True), "false": found.count(False)} for n, found in judged.items())
        return plain_table(rows, "Verdicts on the measurements")

    @property
    def not_measured(self) -> Table:
        """The points without a measurement, and why."""
        lost = [(point.title, point.record) for point in self.points if not point.ok]
        rows = ({"point": title, "status": found.status, "reason": str(found.reason)} for title, found in lost)
        return plain_table(rows, "Points without a measurement")

    @property
    def machines(self) -> dict[str, Table]:
        """What the records keep of each machine and its software."""
        first = {machine_of(record): record.environment for record in reversed(self.records)}
        return {name: plain_table(_facts(environment)) for name, environment in first.items()}

    @property
    def config(self) -> str:
        """The configuration of the first point."""
        return str(yaml.safe_dump(without_tracker(self.records[0].config), sort_keys=False, allow_unicode=True))

    @property
    def headline(self) -> dict[str, float]:
        """The figures by which a study is known: how its claims fared, and geometric means for what it compares."""
        verdicts = Counter(finding.verdict for finding in self.findings)
        figures = {f"findings/{verdict.replace(' ', '_')}": float(number) for verdict, number in verdicts.items()}
        compare = self.spec.compare
        for value in values_on(self.points, compare) if compare else []:
            compared = [point for point in self.points if point.value(str(compare)) == value]
            for shown in (RATIO, LATENCY):
                found = [estimate.value for point in compared if (estimate := point.estimate(shown))]
                if found and min(found) > 0:
                    name = f"geometric_mean_{shown.metric.partition('/')[0]}/{_metric_name(value)}"
                    figures[name] = statistics.geometric_mean(found)
        return figures


def build_report(folders: Sequence[Path]) -> tuple[Report, list[str]]:
    """The report of the records below the folders, and why others cannot be read. `ValueError` where none can."""
    loaded, broken = load_points(folders)
    records = [point.record for point in loaded]
    described = _common_report(records)
    points = with_axes(loaded, swept_keys(records, axes_of(folders)), (described or {}).get("split"))
    title = " and ".join(dict.fromkeys(str(record.config.get("name", "sweep")) for record in records))
    spec = parse(described) if described else spec_for(points, title)
    commands = [command for command in dict.fromkeys(map(command_of, folders)) if command]
    return Report(spec, points, commands, broken), broken


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
    return rendered("page.html.jinja", report=report, spans=spans)


def without_tracker(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the address that records are sent to."""
    return {key: value for key, value in config.items() if key != "tracker"}


def _metric_name(value: Any) -> str:
    """A value as it may stand in a metric's name."""
    return "".join(character if character.isalnum() or character in "_-./" else "_" for character in str(value))


def _facts(environment: dict[str, Any]) -> Iterator[dict[str, str]]:
    for key in (*MACHINE_FACTS, *RUN_FACTS):
        value = environment.get(key)
        if isinstance(value, dict):
            value = [f"{name} {inner}" for name, inner in value.items()]
        if value is not None:
            yield {"fact": key.replace("_", " "), "value": ", ".join(map(str, as_list(value)))}
