"""What happens around the points: progress, the comparison at the end, the sweep's run, the exit code."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import InstantiationException
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from segbench import record
from segbench.axes import count_points, join_families, parse_sweeps, shorten, sweep_overrides, user_overrides
from segbench.checks import boolean
from segbench.explain import explain
from segbench.progress import Progress
from segbench.scrub import scrub
from segbench.secrets import AddressError, settle, shown_override
from segbench.track import SWEEP_OVERRIDE, UNREACHABLE, MlflowTracker, NoTracker, TrackerError

if TYPE_CHECKING:
    from segbench.report.report import Report

EXIT_OK, EXIT_FAILED, EXIT_REFUSED = 0, 1, 2


def guarded(method: Callable[..., None]) -> Callable[..., None]:
    """Hydra only warns of what a callback raises and goes on: say it in one sentence and exit instead."""

    @functools.wraps(method)
    def call(self: SweepCallback, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            print(f"segbench: {explain(error)}", file=sys.stderr)
            if SweepCallback.show_tracebacks:
                print(scrub(traceback.format_exc()), file=sys.stderr)
            sys.exit(EXIT_FAILED)

    return call


class SweepCallback(Callback):
    """Hydra callback around a single run or a multirun, in the launching process and in the jobs'."""

    running: ClassVar[SweepCallback | None] = None
    """The callback of the multirun in progress, for an interruption to find it."""
    show_tracebacks: ClassVar[bool] = False

    def __init__(self) -> None:
        self.config: DictConfig | None = None
        self.progress: Progress | None = None
        self.tracker: MlflowTracker | NoTracker | None = None
        self.run_id: str | None = None
        self.points: int | None = None
        self.swept: set[str] = set()
        self.failed = False
        self.warned: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "progress": None, "tracker": None}  # what belongs to the launching process

    @guarded
    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Prepare the tracker for a single point."""
        if boolean("quick", config.quick):
            refuse("quick=true shortens studies and sweeps: for a point, use timing=quick")
        settle_address(config)
        self._prepare(config)
        if self.tracker is None:
            config.tracker.parent_run = UNREACHABLE

    @guarded
    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Count the points, prepare the tracker, open the sweep's run and hand it to the points."""
        if config.report is not None:
            self._check_report(config)
        if boolean("quick", config.quick):
            shorten(config)
        overrides = sweep_overrides(config)
        sweeps = parse_sweeps(overrides)
        for key in ("name", "tracker", "tracker.uri"):
            if key in sweeps:
                refuse(f"{key} cannot be swept: a sweep has one folder and one tracker")
        if "family" in sweeps:
            overrides = join_families(config, sweeps["family"])
            sweeps = parse_sweeps(overrides)
        elif config.hydra.runtime.choices.get("family") and "encoder" not in config.model and "model" not in sweeps:
            refuse("family sweeps model.encoder: it needs model=encoder or model=segmenter")
        if shown := settle_address(config):
            with open_dict(config):
                config.hydra.overrides.task.append(shown_override(shown))
        self.config = config
        SweepCallback.running = self
        self.points = count_points(sweeps)
        self.swept = set(sweeps)
        self.progress = Progress(self.points)
        self._prepare(config, overrides)
        parent = UNREACHABLE if self.tracker is None else self.run_id
        if parent:
            with open_dict(config):
                config.hydra.overrides.task.append(SWEEP_OVERRIDE + parent)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Show which point runs."""
        if self.progress:
            self.progress.begin(" ".join(self._varying(config)))

    @guarded
    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Show how it ended."""
        if job_return.status is JobStatus.FAILED:
            return  # Hydra raises what the point could not even report
        outcome = job_return.return_value
        self.failed |= outcome.status == "failed"
        if outcome.warning:
            self._warn_once(outcome.warning)
        if outcome.note and outcome.note not in self.warned:
            self.warned.add(outcome.note)
            warn(outcome.note)
        if outcome.traceback and self.show_tracebacks:
            print(scrub(outcome.traceback), file=sys.stderr)
        if self.progress:
            self.progress.end(outcome.status, outcome.detail)
        elif outcome.unrecorded:
            warn(outcome.detail)

    @guarded
    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the point and exit by how it ended."""
        from rich.console import Console

        from segbench.report import analysis
        from segbench.report.console import console_width

        if kwargs["job_return"].status is JobStatus.FAILED:
            return
        folder = Path(config.hydra.runtime.output_dir)
        if kwargs["job_return"].return_value.unrecorded:
            sys.exit(EXIT_FAILED)
        found = record.load(folder / record.FILE_NAME)
        self._show([found], folder)
        if found.status == "ok" and (folder / record.ANALYSIS_FOLDER).is_dir():
            analysis.print_analysis(folder, found.metrics, Console(width=console_width()))
        sys.exit({"ok": EXIT_OK, "failed": EXIT_FAILED}.get(found.status, EXIT_REFUSED))

    @guarded
    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the comparison, close the sweep's run and exit by how the points ended."""
        statuses = self._finish(config)
        whole = self.points is None or len(statuses) >= self.points
        sys.exit(EXIT_OK if whole and not self.failed and "failed" not in statuses else EXIT_FAILED)

    def stopped(self, why: str) -> None:
        """Report what was measured before the sweep was stopped."""
        if self.config is not None:
            done = len(self._finish(self.config, killed=True))
            if done:
                total = self.points or "the"
                print(f"segbench: {why}: {done} of {total} points are measured and kept", file=sys.stderr)

    def _varying(self, config: DictConfig) -> list[str]:
        """The overrides of a job that differ between the points of the sweep."""
        typed = user_overrides(config)
        return [override for override in typed if override.partition("=")[0] in self.swept] or typed

    def _prepare(self, config: DictConfig, overrides: list[str] | None = None) -> None:
        """Open the tracker, and the sweep's run where `overrides` are given; warn where it cannot be used."""
        try:
            tracker = instantiate(config.tracker)
        except InstantiationException as error:
            refuse(explain(error.__cause__ or error))
        try:
            tracker.prepare()
            if overrides is not None:
                study = config.hydra.runtime.choices.get("study")
                self.run_id = tracker.start_sweep(study or " ".join(overrides), overrides)
            self.tracker = tracker
        except TrackerError as error:
            warn(f"{error}. Records are kept in the output folder.")

    def _warn_once(self, message: str) -> None:
        """Warn unless the same was said before, with whatever reason in parentheses."""
        if (gist := message.partition(" (")[0]) not in self.warned:
            self.warned.add(gist)
            warn(message)

    def _finish(self, config: DictConfig, killed: bool = False) -> list[str]:
        """Show the comparison of all points on disk, write it and track it; returns the points' statuses."""
        from segbench.report.comparison import comparison, headline

        SweepCallback.running = None
        if self.progress:
            self.progress.close()
        folder = Path(config.hydra.sweep.dir)
        points, broken = record.load_sweep(folder)
        for reason in broken:
            warn(reason)
        records = [found for _, found in points]
        table = folder / "comparison.csv"
        if records:
            try:
                record.write_text(comparison(points).to_csv(index=False), table)
            except OSError as error:
                warn(explain(error))
                self.failed = True
        report = self._report(folder) if records and config.report is not None else None
        if self.tracker and self.run_id:
            figures = headline(records) | (report.headline if report else {})
            self._track(records, [table, folder / record.REPORT_FOLDER], figures, killed)
        if records or not killed:
            self._show(records, folder, report)
        return [found.status for found in records]

    def _check_report(self, config: DictConfig) -> None:
        """Refuse a report that could not be made before anything is measured for it."""
        from segbench.report.study import parse

        try:
            parse(dict(OmegaConf.to_container(config.report)))  # type: ignore[arg-type]  # a mapping, or refused
        except ValueError as error:
            refuse(f"the report of study={config.hydra.runtime.choices.get('study')} cannot be made: {error}")

    def _report(self, folder: Path) -> Report | None:
        """Write the study's report. One that cannot be made fails the sweep, and leaves its records alone."""
        from segbench.report.report import build_report, write_report

        try:
            report, _ = build_report([folder])
            write_report(report, folder / record.REPORT_FOLDER)
            return report
        except Exception as error:  # whatever it is, the records are there, and so is the comparison
            warn(f"the report is not written: {explain(error)}")
            self.failed = True
            return None

    def _track(self, records: list[record.Record], files: list[Path], metrics: dict[str, float], killed: bool) -> None:
        from segbench.report.console import markdown

        assert self.tracker and self.run_id
        try:
            self.tracker.finish_sweep(self.run_id, files, markdown(records), metrics, killed)
        except TrackerError as error:
            self._warn_once(str(error))
            self.tracker = None

    def _show(self, records: list[record.Record], folder: Path, report: Report | None = None) -> None:
        from rich.console import Console

        from segbench.report.console import console_width, print_comparison, print_findings

        console = Console(width=console_width())
        if not records:
            console.print("No point has a record.", highlight=False)
            return
        print_comparison(records, console)
        if report:
            print_findings(report.findings, console)
            console.print(
                f"Report: {folder / record.REPORT_FOLDER / record.REPORT_PAGE}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        console.print(f"Records: {folder}", markup=False, highlight=False, soft_wrap=True)
        try:
            lines = self.tracker.where(self.run_id) if self.tracker else []
        except TrackerError as error:
            self._warn_once(str(error))
            return
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def warn(message: str) -> None:
    """One line on stderr."""
    print(f"segbench: warning: {scrub(message)}", file=sys.stderr)


def refuse(message: str) -> NoReturn:
    """Say why a request cannot be served, and exit."""
    print(f"segbench: {scrub(message)}", file=sys.stderr)
    sys.exit(EXIT_REFUSED)


def settle_address(config: DictConfig) -> str | None:
    """Take the secrets out of the tracker's address; returns the new address where that changed it."""
    if "uri" not in config.tracker:
        return None
    try:
        shown = settle(config.tracker.uri)
    except AddressError as error:
        refuse(str(error))
    if shown == config.tracker.uri:
        return None
    config.tracker.uri = shown
    return shown
