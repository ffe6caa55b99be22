"""What happens around the points: progress, the comparison at the end, the sweep's run, the exit code."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from segbench import record
from segbench.explain import explain
from segbench.progress import Progress
from segbench.track import SWEEP_OVERRIDE, UNREACHABLE, MlflowTracker, NoTracker, TrackerError

EXIT_OK, EXIT_FAILED, EXIT_REFUSED, EXIT_INTERRUPTED = 0, 1, 2, 130


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

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "progress": None, "tracker": None}  # what belongs to the launching process

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Prepare the tracker for a single point."""
        self._prepare(config)
        if self.tracker is None:
            config.tracker.parent_run = UNREACHABLE

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Count the points, prepare the tracker, open the sweep's run and hand it to the points."""
        self.config = config
        SweepCallback.running = self
        overrides = sweep_overrides(config)
        self.points = count_points(overrides)
        self.progress = Progress(self.points)
        self._prepare(config)
        if self.tracker:
            self.run_id = self.tracker.start_sweep(" ".join(overrides), overrides)
        parent = UNREACHABLE if self.tracker is None else self.run_id
        if parent:
            with open_dict(config):
                config.hydra.overrides.task.append(SWEEP_OVERRIDE + parent)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Show which point runs."""
        if self.progress:
            self.progress.begin(" ".join(user_overrides(config)))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Show how it ended."""
        if job_return.status is JobStatus.FAILED:
            status, detail = "failed", explain(job_return._return_value)
        else:
            outcome = job_return.return_value
            status, detail = outcome.status, outcome.detail
            if outcome.warning:
                warn(outcome.warning)
            if outcome.traceback and self.show_tracebacks:
                print(outcome.traceback, file=sys.stderr)
        if self.progress:
            self.progress.end(status, detail)

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the point and exit by how it ended."""
        if kwargs["job_return"].status is JobStatus.FAILED:
            return  # Hydra raises what the point could not record
        folder = Path(config.hydra.runtime.output_dir)
        found = record.load(folder / record.FILE_NAME)
        self._show([found], folder)
        sys.exit({"ok": EXIT_OK, "failed": EXIT_FAILED}.get(found.status, EXIT_REFUSED))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the comparison, close the sweep's run and exit by how the points ended."""
        statuses = self._finish(config)
        whole = self.points is None or len(statuses) >= self.points
        sys.exit(EXIT_OK if whole and "failed" not in statuses else EXIT_FAILED)

    def interrupted(self) -> None:
        """Report what was measured before the user stopped the sweep."""
        if self.config is not None:
            done = len(self._finish(self.config, killed=True))
            print(f"interrupted: {done} of {self.points or 'the'} points are measured and kept", file=sys.stderr)

    def _prepare(self, config: DictConfig) -> None:
        tracker = instantiate(config.tracker)
        try:
            tracker.prepare()
            self.tracker = tracker
        except TrackerError as error:
            warn(f"{error}. Records are kept in the output folder.")

    def _finish(self, config: DictConfig, killed: bool = False) -> list[str]:
        """Write and show the comparison of all points on disk; returns their statuses."""
        from segbench.report.comparison import comparison, headline

        SweepCallback.running = None
        if self.progress:
            self.progress.close()
        folder = Path(config.hydra.sweep.dir)
        points, broken = record.load_sweep(folder)
        for reason in broken:
            warn(reason)
        records = [found for _, found in points]
        comparison(points).to_csv(folder / "comparison.csv", index=False)
        if self.tracker and self.run_id:
            self._track(records, folder, headline(records), killed)
        self._show(records, folder)
        return [found.status for found in records]

    def _track(self, records: list[record.Record], folder: Path, metrics: dict[str, float], killed: bool) -> None:
        from segbench.report.console import markdown

        assert self.tracker and self.run_id
        try:
            self.tracker.finish_sweep(self.run_id, folder / "comparison.csv", markdown(records), metrics, killed)
        except TrackerError as error:
            warn(str(error))
            self.tracker = None

    def _show(self, records: list[record.Record], folder: Path) -> None:
        from rich.console import Console

        from segbench.report.console import console_width, print_comparison

        console = Console(width=console_width())
        print_comparison(records, console)
        console.print(f"Records: {folder}", markup=False, highlight=False, soft_wrap=True)
        try:
            lines = self.tracker.where(self.run_id) if self.tracker else []
        except TrackerError as error:
            warn(str(error))
            return
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def warn(message: str) -> None:
    """One line on stderr."""
    print(f"segbench: warning: {message}", file=sys.stderr)


def user_overrides(config: DictConfig) -> list[str]:
    """The overrides of a job without those that a sweep added."""
    return [override for override in config.hydra.overrides.task if not override.startswith(SWEEP_OVERRIDE)]


def sweep_overrides(config: DictConfig) -> list[str]:
    """The overrides of a multirun: a study's own sweep axes, replaced and followed by the command line's."""
    params = OmegaConf.to_container(config.hydra.sweeper.get("params") or OmegaConf.create({}))
    assert isinstance(params, dict)
    typed = list(config.hydra.overrides.task)
    replaced = {override.partition("=")[0] for override in typed}
    return [f"{key!s}={value}" for key, value in params.items() if key not in replaced] + typed


def count_points(overrides: list[str]) -> int | None:
    """The number of points that the overrides span, `None` where only Hydra can tell (`glob`)."""
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
        sweeps = {o.get_key_element(): o for o in parsed if o.is_sweep_override()}
        return math.prod(len(list(o.sweep_string_iterator())) for o in sweeps.values())
    except HydraException:
        return None
