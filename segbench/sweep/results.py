"""The end of a sweep: its table, its study's report, and what of both is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from segbench.base.files import write_text
from segbench.config.explain import explain
from segbench.point.record import REPORT_FOLDER, REPORT_PAGE, TABLE, Record, load_sweep
from segbench.sweep.display import warn
from segbench.sweep.ending import RefusedError

if TYPE_CHECKING:
    from segbench.report.report import Report


@dataclass(frozen=True)
class Results:
    """The points of a sweep's folder, by their folders' names, and the report; whether all was `written`."""

    folder: Path
    points: list[tuple[str, Record]]
    report: "Report | None" = None
    written: bool = True
    axes: Sequence[str] | None = None

    @property
    def records(self) -> list[Record]:
        """The records alone."""
        return [record for _, record in self.points]

    def figures(self) -> dict[str, float]:
        """The headline figures of the sweep and of its report."""
        from segbench.report.comparison import headline

        return headline(self.records) | (self.report.headline if self.report else {})


def check_report(spec: Any, study: str) -> None:
    """Raise `RefusedError` for a study's report that could not be made, before anything is measured for it."""
    from segbench.report.study import parse

    try:
        parse(spec)
    except ValueError as error:
        raise RefusedError(f"the report of study={study} cannot be made: {error}") from error


def write_results(folder: Path, axes: Sequence[str], with_report: bool) -> Results:
    """Write comparison.csv, and the report where one is asked for; what cannot be written or read costs a warning."""
    from segbench.report.comparison import comparison
    from segbench.report.report import build_report, write_report

    points, broken = load_sweep(folder)
    for reason in broken:
        warn(reason)
    report, written = None, True
    try:
        if points:
            write_text(comparison(points).to_csv(index=False), folder / TABLE)
    except OSError as error:
        warn(explain(error))
        written = False
    try:
        if points and with_report:
            report = build_report([folder])
            write_report(report, folder / REPORT_FOLDER)
    except Exception as error:  # whatever it is, the records are there, and so is the comparison
        warn(f"the report is not written: {explain(error)}")
        report, written = None, False
    return Results(folder, points, report, written, axes)


def show_results(results: Results) -> None:
    """Print the comparison, how the claims fared, and where the report and the records are."""
    from segbench.report.console import console_width, print_comparison, print_findings

    console = Console(width=console_width())
    if not results.points:
        console.print("No point has a record.", highlight=False)
        return
    print_comparison(results.records, console, results.axes)
    if results.report:
        print_findings(results.report.findings, console)
        print(f"Report: {results.folder / REPORT_FOLDER / REPORT_PAGE}")
    print(f"Records: {results.folder}")
