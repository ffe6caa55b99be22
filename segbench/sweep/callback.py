"""What happens around the points: progress, the comparison at the end, the sweep's run, the exit code."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import InstantiationException
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from segbench.base.checks import boolean
from segbench.base.files import write_text
from segbench.base.interrupts import held_back
from segbench.config.compose import ON_THIS_MACHINE, Sources, launcher_of
from segbench.config.explain import explain
from segbench.config.keys import Role, has_role
from segbench.config.overrides import decisive, key_of, of_the_point, override, swept
from segbench.point import record
from segbench.sweep import folder as sweep_folder
from segbench.sweep.axes import count_points, join_families, shorten, sweep_overrides, user_overrides
from segbench.sweep.clusters import still_running, why_not
from segbench.sweep.progress import Progress
from segbench.sweep.sync import send_missing
from segbench.tracking.none import NoTracker
from segbench.tracking.tracker import UNREACHABLE, MlflowTracker, TrackerError

if TYPE_CHECKING:
    from filelock import FileLock

    from segbench.report.report import Report
    from segbench.sweep.job import Outcome
    from segbench.sweep.resume import Plan

EXIT_OK, EXIT_FAILED, EXIT_REFUSED = 0, 1, 2
FAILURES = {"failed", "timeout", "killed"}
OUTPUTS = Path("outputs")


def guarded(method: Callable[..., None]) -> Callable[..., None]:
    """Hydra only warns of what a callback raises and goes on: say it in one sentence and exit instead."""

    @functools.wraps(method)
    def call(self: SweepCallback, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            print(f"segbench: {explain(error)}", file=sys.stderr)
            if SweepCallback.show_tracebacks:
                print(traceback.format_exc(), file=sys.stderr)
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
        self.untracked = False
        self.warned: set[str] = set()
        self.overrides: list[str] = []
        self.lock: FileLock | None = None
        self.plan: Plan | None = None

    def __getstate__(self) -> dict[str, Any]:
        own = dict.fromkeys(("progress", "tracker", "lock", "plan"))  # what belongs to the launching process
        return {**self.__dict__, **own}

    @guarded
    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Prepare the tracker for a single point."""
        if boolean("quick", config.quick):
            refuse("quick=true shortens studies and sweeps: for a point, use timing=quick")
        if config.resume:
            refuse(f"resume={config.resume} goes on with a sweep: for a point, repeat the command")
        open_tracker(config)  # refused before anything is written
        sweep_folder.tidy(OUTPUTS)
        self._claim(Path(config.hydra.run.dir))
        self._prepare(config)
        if self.tracker is None:
            config.tracker.parent_run = UNREACHABLE

    @guarded
    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Count the points, prepare the tracker, open the sweep's run and hand it to the points."""
        if reason := why_not(config.hydra.runtime.choices["hydra/launcher"], config.hydra.launcher._target_):
            refuse(reason)
        if config.report is not None:
            self._check_report(config)
        if boolean("quick", config.quick):
            shorten(config)
        overrides = sweep_overrides(config)
        sweeps = swept(overrides)
        for key in sweeps:
            if has_role(key, Role.ONE_A_SWEEP):
                refuse(f"{key} cannot be swept: a sweep has one folder and one tracker")
        if "family" in sweeps:
            overrides = join_families(config, sweeps["family"])
            sweeps = swept(overrides)
        elif config.hydra.runtime.choices.get("family") and "encoder" not in config.model and "model" not in sweeps:
            refuse("family sweeps model.encoder: it needs model=encoder or model=segmenter")
        open_tracker(config)  # refused before anything is written
        self.points = count_points(sweeps)
        self.swept = set(sweeps)
        self.overrides = of_the_point(overrides)
        sweep_folder.tidy(OUTPUTS)
        sweep_id = self._open_folder(config)
        self.config = config
        SweepCallback.running = self
        self.progress = Progress(self.points)
        self._prepare(config, sweep_id)
        parent = UNREACHABLE if self.tracker is None else self.run_id
        if parent:
            with open_dict(config):
                config.hydra.overrides.task.append(override("tracker.parent_run", parent))

    def remaining(self, batch: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
        """The points of a batch that have no record yet which stands for them: all, unless a sweep is resumed."""
        if self.plan is None:
            return batch
        left = self.plan.remaining(batch)
        print(
            f"segbench: resume: {self.plan.kept} points keep their records, {len(left)} are measured", file=sys.stderr
        )
        if self.progress:
            self.progress.expect(len(left))
        return left

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Show which point runs."""
        if self.progress:
            self.progress.begin(self._name(user_overrides(config)))

    @guarded
    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Show how it ended."""
        if job_return.status is JobStatus.FAILED:
            return  # Hydra raises what the point could not even report
        job_return.cfg = job_return.hydra_cfg = None  # Hydra keeps what jobs return until a sweep's end
        self._show_outcome(job_return.return_value)

    def point_ended(self, outcome: Outcome, overrides: Sequence[str]) -> None:
        """Show how a point ended that another process measured."""
        if self.progress:
            self.progress.begin(self._name(overrides))
        self._show_outcome(outcome)

    def say(self, message: str) -> None:
        """One line beside the progress."""
        if self.progress:
            self.progress.console.print(f"segbench: {message}", markup=False, highlight=False, soft_wrap=True)

    def _show_outcome(self, outcome: Outcome) -> None:
        self.failed |= outcome.status in FAILURES
        self.untracked |= outcome.untracked
        for warning in outcome.warnings:
            self._warn_once(warning)
        if outcome.traceback and self.show_tracebacks:
            print(outcome.traceback, file=sys.stderr)
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

        self._give_back()
        if kwargs["job_return"].status is JobStatus.FAILED:
            return
        folder = Path(config.hydra.runtime.output_dir)
        if kwargs["job_return"].return_value.unrecorded:
            sys.exit(EXIT_FAILED)
        found = record.load(folder / record.FILE_NAME)
        self._show([found], folder)
        if found.status == "ok" and (folder / record.ANALYSIS_FOLDER).is_dir():
            analysis.print_analysis(folder, found.metrics, Console(width=console_width()))
        sys.exit(EXIT_OK if found.status == "ok" else EXIT_FAILED if found.status in FAILURES else EXIT_REFUSED)

    @guarded
    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the comparison, close the sweep's run and exit by how the points ended."""
        statuses = self._finish(config)
        whole = self.points is None or len(statuses) >= self.points
        sys.exit(EXIT_OK if whole and not self.failed and FAILURES.isdisjoint(statuses) else EXIT_FAILED)

    def stopped(self, why: str) -> None:
        """Report what was measured before the sweep was stopped."""
        if self.config is not None:
            statuses = self._finish(self.config, why)
            if done := sum(status != "killed" for status in statuses):
                total, folder = self.points or "the", self.config.hydra.sweep.dir
                print(
                    f"segbench: {why}: {done} of {total} points are measured and kept; resume={folder} goes on with "
                    "the others",
                    file=sys.stderr,
                )

    def _name(self, overrides: Sequence[str]) -> str:
        """A point's overrides, as far as they differ between the points of the sweep."""
        return " ".join([o for o in overrides if key_of(o) in self.swept] or overrides)

    def _claim(self, folder: Path, resumed: Path | None = None) -> None:
        """Take a folder for as long as this command runs; one that is resumed may be somebody else's."""
        try:
            if folder == resumed:
                sweep_folder.refuse_links(folder)
            self.lock = sweep_folder.claim(folder)
        except (sweep_folder.BusyError, ValueError) as error:
            refuse(str(error))
        except OSError as error:
            refuse(explain(error))

    def _give_back(self) -> None:
        if self.lock:
            sweep_folder.give_back(self.lock)
            self.lock = None

    def _open_folder(self, config: DictConfig) -> str:
        """Take the sweep's folder, the one that is resumed or a new one; returns the sweep's id."""
        name = Sources.of(config.hydra).name
        command = decisive(self.overrides) + ([f"--config-name={name}"] if name != "config" else [])
        folder = self._resumed(config, command) if config.resume else None
        if folder:
            with open_dict(config):
                config.hydra.sweep.dir = str(folder)
                config.hydra.overrides.hydra.append(override("hydra.sweep.dir", str(folder)))
        self._claim(Path(config.hydra.sweep.dir), folder)
        sweep = sweep_folder.open_sweep(Path(config.hydra.sweep.dir), command)
        if folder:
            self._plan(config, folder)
        return sweep.id

    def _resumed(self, config: DictConfig, command: list[str]) -> Path | None:
        """The folder of the sweep that `resume` asks for; `None` where there is none of the same command."""
        if config.resume is True:
            found = sweep_folder.newest(Path(config.hydra.sweep.dir).parent, command)
            if found is None:
                print("segbench: resume: no sweep of this command is there, a new one begins", file=sys.stderr)
            return found
        folder = Path(str(config.resume))
        if not any((folder / name).is_file() for name in (sweep_folder.STATE, "multirun.yaml")):
            refuse(f"resume={config.resume} is not allowed: use true, or the folder of a sweep")
        sweep = sweep_folder.read_sweep(folder)
        if sweep and sorted(sweep.command) != sorted(command):
            warn(f"{folder} is of another command, {' '.join(sweep.command)}: its other points stay in the comparison")
        return folder

    def _plan(self, config: DictConfig, folder: Path) -> None:
        """Find out what is left of a sweep that was stopped."""
        from segbench.point import environment
        from segbench.sweep.resume import Plan, Rule

        asked = OmegaConf.to_container(OmegaConf.masked_copy(config, ["retry", "point_timeout_s"]))
        assert isinstance(asked, dict)
        runtime = config.hydra.runtime
        try:
            rule = Rule.of({str(key): value for key, value in asked.items()}, launcher_of(runtime.choices))
        except ValueError as error:
            refuse(str(error))
        if busy := still_running(folder) or sweep_folder.still_measured(folder):
            refuse(f"{busy}: wait for it, or end it")
        sweep_folder.mark_killed(folder, elsewhere=True)
        self.plan = Plan(folder, rule, Sources.of(config.hydra), environment.describe())

    def _prepare(self, config: DictConfig, sweep_id: str | None = None) -> None:
        """Open the tracker, and the run of the sweep `sweep_id`; warn where it cannot be used."""
        tracker = open_tracker(config)
        try:
            tracker.prepare()
            if sweep_id is not None:
                study = config.hydra.runtime.choices.get("study")
                self.run_id = tracker.start_sweep(study or " ".join(self.overrides), self.overrides, sweep_id)
            self.tracker = tracker
        except TrackerError as error:
            self._warn_once(f"{error}. Records are kept in the output folder: scripts/sync.py sends them later.")

    def _warn_once(self, message: str) -> None:
        """Warn unless the same was said before, with whatever reason in parentheses."""
        if (gist := message.partition(" (")[0]) not in self.warned:
            self.warned.add(gist)
            warn(message)

    def _finish(self, config: DictConfig, why: str | None = None) -> list[str]:
        """Show the comparison of all points on disk, write it and track it; returns the points' statuses."""
        from segbench.report.comparison import comparison, headline

        SweepCallback.running = None
        if self.progress:
            self.progress.close()
        folder = Path(config.hydra.sweep.dir)
        with suppress(OSError):  # a full disk, of which the points have told
            if why:
                sweep_folder.mark_killed(folder, f"the sweep was {why} before this point had a result")
            elif launcher_of(config.hydra.runtime.choices) not in ON_THIS_MACHINE:  # it has waited for every point
                sweep_folder.mark_killed(folder, elsewhere=True)
        points, broken = record.load_sweep(folder)
        for reason in broken:
            warn(reason)
        records = [found for _, found in points]
        if records:
            try:
                write_text(comparison(points).to_csv(index=False), folder / record.TABLE)
            except OSError as error:
                warn(explain(error))
                self.failed = True
        report = self._report(folder) if records and config.report is not None else None
        figures = headline(records) | (report.headline if report else {})
        self._track(config, points, figures, bool(why))
        self._give_back()
        if records or not why:
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

    def _track(
        self, config: DictConfig, points: list[tuple[str, record.Record]], metrics: dict[str, float], killed: bool
    ) -> None:
        """Send what the tracker lacks, and close the sweep's run."""
        from segbench.report.console import markdown

        folder = Path(config.hydra.sweep.dir)
        if self.tracker is None and points:  # it may be back
            self._prepare(config, sweep_folder.open_sweep(folder, []).id)
            self.untracked = True
        if self.tracker is None or self.run_id is None:
            return
        files = [folder / record.TABLE, folder / record.REPORT_FOLDER]
        try:
            with held_back():
                if self.untracked:
                    self.tracker.prepare()
                if self.untracked or self.plan or launcher_of(config.hydra.runtime.choices) not in ON_THIS_MACHINE:
                    send_missing(self.tracker, [folder / name for name, _ in points], self.run_id)
                self.tracker.finish_sweep(self.run_id, files, markdown([found for _, found in points]), metrics, killed)
        except TrackerError as error:
            self._warn_once(
                f"{error}. Records are kept in the output folder: scripts/sync.py {folder} sends what is missing."
            )
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
    print(f"segbench: warning: {message}", file=sys.stderr)


def refuse(message: str) -> NoReturn:
    """Say why a request cannot be served, and exit."""
    print(f"segbench: {message}", file=sys.stderr)
    sys.exit(EXIT_REFUSED)


def open_tracker(config: DictConfig) -> Any:
    """The tracker of a configuration; refuses one that cannot be used, such as an address with a password in it."""
    try:
        return instantiate(config.tracker)
    except InstantiationException as error:
        refuse(explain(error.__cause__ or error))
