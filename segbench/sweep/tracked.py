"""The run of a sweep, or of a single point, in the tracker. A tracker that cannot be used costs one warning."""

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from segbench.base.interrupts import held_back
from segbench.config.compose import instantiated
from segbench.point.record import REPORT_FOLDER, TABLE
from segbench.sweep.ending import RefusedError
from segbench.sweep.results import Results
from segbench.sweep.sync import send_missing
from segbench.tracking.tracker import UNREACHABLE, TrackerError


class TrackedRun:
    """What a command has in the tracker; `warn` is told once where it cannot be used."""

    def __init__(self, tracker: Any, warn: Callable[[str], None]) -> None:
        self.usable = False
        self.run_id: str | None = None
        self._tracker, self._warn = tracker, warn
        self._sweep: tuple[str, list[str], str] | None = None

    @staticmethod
    def of(config: DictConfig, warn: Callable[[str], None]) -> "TrackedRun":
        """By the tracker of a configuration. `RefusedError` for one that cannot be, such as one without an address."""
        try:
            return TrackedRun(instantiated(config.tracker), warn)
        except ValueError as error:
            raise RefusedError(str(error)) from error

    @property
    def parent_run(self) -> str | None:
        """What the points are told: the run that theirs belong to, or that they need not try."""
        return self.run_id if self.usable else UNREACHABLE

    def open(self) -> None:
        """Prepare the tracker, and open the run of the sweep where there is one."""
        try:
            self._tracker.prepare()
            if self._sweep:
                self.run_id = self._tracker.start_sweep(*self._sweep)
            self.usable = True
        except TrackerError as error:
            self._warn(f"{error}. Records are kept in the output folder: scripts/sync.py sends them later.")

    def open_sweep(self, name: str, overrides: list[str], sweep_id: str) -> None:
        """Prepare the tracker, and open the run of a sweep; one that was resumed has it already."""
        self._sweep = name, overrides, sweep_id
        self.open()

    def close_sweep(self, results: Results, killed: bool, all_sent: bool) -> None:
        """Close the sweep's run with its table and files. Send the missing points before, unless `all_sent`."""
        from segbench.report.console import markdown

        if not self.usable and results.points:  # it may be back
            self.open()
            all_sent = False
        if not self.usable or self.run_id is None:
            return
        folder = results.folder
        files = [folder / TABLE, folder / REPORT_FOLDER]
        try:
            with held_back():
                if not all_sent:
                    self._tracker.prepare()
                    send_missing(self._tracker, [folder / name for name, _ in results.points], self.run_id)
                table, figures = markdown(results.records, results.axes), results.figures()
                self._tracker.finish_sweep(self.run_id, files, table, figures, killed)
        except TrackerError as error:
            kept = f"Records are kept in the output folder: scripts/sync.py {folder} sends what is missing."
            self._warn(f"{error}. {kept}")
            self.usable = False

    def show_where(self) -> None:
        """Print where to look at the runs in a browser."""
        try:
            for line in self._tracker.where(self.run_id) if self.usable else []:
                print(line)
        except TrackerError as error:
            self._warn(str(error))
