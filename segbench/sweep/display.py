"""What a command shows of its points on stderr: progress, warnings, and how each point ended."""

import sys
from collections.abc import Collection, Sequence
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from segbench.config.overrides import key_of, of_the_point
from segbench.sweep.ending import TRACEBACKS_WANTED, Outcome

STYLES = {"ok": "green", "unsupported": "yellow", "failed": "red"}


class Display:
    """The points of one command: a bar with the running point on a terminal, and a line for each that ended.

    Nothing is drawn while a point is timed: a thread that draws would disturb it.
    """

    of_the_sweep: ClassVar["Display | None"] = None
    """The display of the sweep that this process controls; other processes show nothing."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._console = Console(stderr=True)
        self._axes: set[str] = set()
        self._total = 0
        self._name = ""
        self._warned: set[str] = set()
        self._bar = Progress(
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            auto_refresh=False,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("loading PyTorch", total=None)

    def start(self, axes: Collection[str], total: int) -> None:
        """Begin to show a sweep over `axes`; from now on its points find this display."""
        Display.of_the_sweep = self
        self._axes = set(axes)
        self._bar.start()
        self.expect(total)

    def expect(self, total: int) -> None:
        """Set how many points will be measured."""
        self._total = total
        self._bar.update(self._task, total=total)
        self._bar.refresh()

    def begin(self, overrides: Sequence[str]) -> None:
        """Show that a point runs, by those of its overrides in which the points differ."""
        self._name = " ".join([each for each in overrides if key_of(each) in self._axes] or overrides)
        self._bar.update(self._task, description=self._name)
        self._bar.refresh()

    def end(self, outcome: Outcome) -> None:
        """Show how the running point ended."""
        self.show_notes(outcome)
        style = STYLES.get(outcome.status, "red")
        count = f"{len(self.outcomes)}/{self._total}"
        line = f"[dim]{count}[/] [{style}]{outcome.status}[/] {escape(self._name)}  {escape(outcome.detail)}"
        self._console.print(line, highlight=False, soft_wrap=True)
        self._bar.advance(self._task)
        self._bar.refresh()

    def show_notes(self, outcome: Outcome) -> None:
        """Show what a point warns of, and where it failed if that is wanted."""
        self.outcomes.append(outcome)
        for warning in outcome.warnings:
            self.warn_once(warning)
        if outcome.traceback and TRACEBACKS_WANTED:
            print(outcome.traceback, file=sys.stderr)

    def warn_once(self, message: str) -> None:
        """Warn unless the same was said before, with whatever reason in parentheses."""
        if (gist := message.partition(" (")[0]) not in self._warned:
            self._warned.add(gist)
            warn(message)

    def say(self, message: str) -> None:
        """One line beside the progress."""
        self._console.print(f"segbench: {message}", markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the bar."""
        Display.of_the_sweep = None
        self._bar.stop()


def warn(message: str) -> None:
    """One line on stderr."""
    print(f"segbench: warning: {message}", file=sys.stderr)


class ProgressCallback(Callback):
    """Shows each point of a sweep when it begins and when it has ended; lets no single point begin that is refused."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check a single point. Hydra makes a warning of what a callback raises, and lets only an exit through."""
        from segbench.sweep import single

        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)  # as it will be in the point: `${hydra:...}` refers to it
        try:
            single.check(config)
        except Exception as error:
            raise SystemExit from error
        finally:
            HydraConfig.instance().cfg = before

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Show which point runs."""
        if display := Display.of_the_sweep:
            display.begin(of_the_point(config.hydra.overrides.task))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Show how the point ended; where it raised, Hydra raises the error again."""
        job_return.cfg = job_return.hydra_cfg = None  # Hydra keeps what jobs return until a sweep's end
        if (display := Display.of_the_sweep) and job_return.status is JobStatus.COMPLETED:
            display.end(job_return.return_value)
