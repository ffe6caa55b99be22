"""A study's report from its records: one self-contained page, and every table and plot as files beside it."""

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from segbench.base.files import write_text
from segbench.point.record import REPORT_PAGE, STATUSES
from segbench.report.claims import Finding, findings
from segbench.report.comparison import axes_of, command_of, swept_keys
from segbench.report.formats import latex, markdown, rendered, spans
from segbench.report.nodes import nodes
from segbench.report.plots import Plot, plots
from segbench.report.points import Point, as_list, in_words, load_points, machine_of, values_on, with_axes
from segbench.report.protocol import protocol
from segbench.report.quantity import LATENCY, RATIO
from segbench.report.study import ReportSpec, parse, spec_for
from segbench.report.table import Table, plain_table
from segbench.report.tables import reported, tables

FACTS = (
    "cpu", "host", "os", "cores_physical", "cores_logical", "memory_bytes", "simd", "accelerator",
    "threads", "affinity", "python", "segbench", "commit", "uncommitted_changes", "packages",
)  # fmt: skip
"""What the page shows of a machine and of what ran there."""
LEGEND = "95% intervals; bold: distinguishably the best; =: not distinguishable from the baseline; !: disturbed"


@dataclass(frozen=True)
class Report:
    """Everything that the page shows, from a study's description and its points."""

    spec: ReportSpec
    points: Sequence[Point]
    commands: Sequence[str]
    broken: Sequence[str]
    """Why some records could not be read."""

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

    @property
    def headline(self) -> dict[str, float]:
        """The figures by which a study is known: how its claims fared, and geometric means for what it compares."""
        verdicts = Counter(finding.verdict for finding in self.findings)
        figures = {f"findings/{verdict.replace(' ', '_')}": float(number) for verdict, number in verdicts.items()}
        compare = self.spec.compare or ""
        for value, shown in product(values_on(self.points, compare) if compare else (), (RATIO, LATENCY)):
            compared = (point.estimate(shown) for point in self.points if point.value(compare) == value)
            found = [estimate.value for estimate in compared if estimate]
            if found and min(found) > 0:
                name = f"geometric_mean_{shown.metric.partition('/')[0]}/" + re.sub(r"[^\w./-]", "_", str(value))
                figures[name] = statistics.geometric_mean(found)
        return figures


def build_report(folders: Sequence[Path]) -> Report:
    """The report of the records below the folders. `ValueError` where there are none.

    It is the one that all records describe; where there is none, or different studies stand side by side, a plain one.
    """
    loaded, broken = load_points(folders)
    records = [point.record for point in loaded]
    described, *others = (record.config.get("report") for record in records)
    if any(other != described for other in others):
        described = None
    points = with_axes(loaded, swept_keys(records, axes_of(folders)), (described or {}).get("split"))
    title = " and ".join(dict.fromkeys(str(record.config.get("name", "sweep")) for record in records))
    spec = parse(described) if described else spec_for(points, title)
    return Report(spec, points, list(filter(None, dict.fromkeys(map(command_of, folders)))), broken)


def write_report(report: Report, folder: Path) -> Path:
    """Write the page, the tables as CSV, Markdown and LaTeX, and the plots as PNG and PDF; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in report.tables:
        write_text(table.frame.to_csv(index=False), folder / f"{table.name}.csv")
        write_text(markdown(table), folder / f"{table.name}.md")
        write_text(latex(table, LEGEND), folder / f"{table.name}.tex")
    for plot in report.plots:
        plot.save(folder)
    write_text(page(report), folder / REPORT_PAGE)
    return folder / REPORT_PAGE


def page(report: Report) -> str:
    """The page as HTML: no script, nothing loaded from elsewhere, every text escaped."""
    records = [point.record for point in report.points]
    judged = pd.DataFrame(record.verdicts for record in records if record.status == "ok")
    counted = [{"verdict": n, "true": judged[n].eq(True).sum(), "false": judged[n].eq(False).sum()} for n in judged]
    lost = [point for point in report.points if not point.ok]
    reasons = ({"point": p.title, "status": p.record.status, "reason": str(p.record.reason)} for p in lost)
    environments = {machine_of(record): record.environment for record in reversed(records)}
    changes = (record.config.get("baseline") for record in records)
    return rendered(
        "page.html.jinja",
        report=report,
        started=sorted(record.started[:16].replace("T", " ") for record in records),
        ended=Counter(record.status for record in records),
        statuses=STATUSES,
        baselines=dict.fromkeys(in_words(each) for each in changes if each),
        reported=reported(report.spec.reported, report.points),
        nodes=nodes(report.points),
        protocol=protocol(records),
        judged=plain_table(counted, "Verdicts on the measurements"),
        lost=plain_table(reasons, "Points without a measurement"),
        machines={name: plain_table(_facts(found)) for name, found in environments.items()},
        config=yaml.safe_dump(without_tracker(records[0].config), sort_keys=False, allow_unicode=True),
        spans=spans,
    )


def without_tracker(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the address that records are sent to."""
    return {key: value for key, value in config.items() if key != "tracker"}


def _facts(environment: dict[str, Any]) -> Iterator[dict[str, str]]:
    """What a record keeps of its machine and its software."""
    for key in FACTS:
        value = environment.get(key)
        if isinstance(value, dict):
            value = [f"{name} {inner}" for name, inner in value.items()]
        if value is not None:
            yield {"fact": key.replace("_", " "), "value": ", ".join(map(str, as_list(value)))}
