"""A sweep from its opening to its close: folder and lock, what is left to measure, the tracker's run, the display."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf, open_dict

from segbench.base.interrupts import Terminated
from segbench.config.compose import ON_THIS_MACHINE, Sources, launcher_of
from segbench.config.explain import explain
from segbench.config.overrides import decisive, key_of, of_the_point, override, swept
from segbench.sweep import folder as sweep_folder
from segbench.sweep import resume
from segbench.sweep.display import Display, warn
from segbench.sweep.ending import FAILURES
from segbench.sweep.results import Results, check_report, show_results, write_results
from segbench.sweep.tracked import TrackedRun

OUTPUTS = Path("outputs")
Point = Sequence[str]


class Session:
    """The context in which the points of a sweep are measured; whatever ends it, it is closed in order.

    Entering takes the folder, opens the tracker's run and finds out what is left to measure. Leaving writes and shows
    what was measured, and says how to go on where the sweep was stopped. Then `failed` says whether a point failed.
    """

    def __init__(self, config: DictConfig, overrides: list[str], points: Sequence[Point]) -> None:
        self.config, self.points = config, points
        self.overrides = of_the_point(overrides)
        self.axes = list(dict.fromkeys(key_of(str(axis.input_line)) for axis in swept(overrides).values()))
        self.display = Display()
        self.failed = False
        self._measured = 0
        self._choices = config.hydra.runtime.choices
        self._launcher = launcher_of(self._choices)
        self._tracked = TrackedRun.of(config, self.display.warn_once)
        self._plan: resume.Plan | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if self.config.report is not None:
            check_report(OmegaConf.to_container(self.config.report), str(self._choices.get("study")))
        sweep_folder.tidy(OUTPUTS)
        with ExitStack() as opening:
            sweep_id = self._open_folder(opening)
            self.display.start(self.axes, len(self.points))
            opening.callback(self.display.close)
            name = self._choices.get("study") or " ".join(self.overrides)
            self._tracked.open_sweep(name, self.overrides, sweep_id)
            self._open = opening.pop_all()
        return self

    def _open_folder(self, opening: ExitStack) -> str:
        """Take the sweep's folder, the one that is resumed or a new one; returns the sweep's id."""
        name = Sources.of(self.config.hydra).name
        command = decisive(self.overrides) + ([f"--config-name={name}"] if name != "config" else [])
        new = Path(self.config.hydra.sweep.dir)
        resumed = resume.folder_of(self.config.resume, new.parent, command) if self.config.resume else None
        self.folder = resumed or new
        if resumed:
            sweep_folder.refuse_links(resumed)
        opening.callback(sweep_folder.give_back, sweep_folder.claim(self.folder))
        sweep = sweep_folder.open_sweep(self.folder, command, self.axes)
        self.axes = sweep.axes or self.axes
        if resumed:
            with open_dict(self.config):
                self.config.hydra.sweep.dir = str(resumed)
            self._plan = resume.plan(self.config, resumed)
        return sweep.id

    def to_measure(self) -> list[list[str]]:
        """The points that are left to measure, with what the sweep hands down to each."""
        left = [list(point) for point in self.points]
        handed = []
        if self._plan:
            left = self._plan.to_measure(self.points)
            kept = len(self.points) - len(left)
            self.display.say(f"resume: {kept} points keep their records, {len(left)} are measured")
            self.display.expect(len(left))
            handed.append(override("hydra.sweep.dir", str(self.folder)))
        if parent := self._tracked.parent_run:
            handed.append(override("tracker.parent_run", parent))
        return [[*point, *handed] for point in left]

    def show_missed(self, points: Sequence[Point], returned: Sequence[JobReturn]) -> None:
        """Show how points ended of which nothing was shown when they did, because other processes measured them."""
        outcomes = [each.return_value for each in returned]  # raises what a point could not even report
        self._measured += len(outcomes)
        if len(self.display.outcomes) < self._measured:
            for point, outcome in zip(points, outcomes, strict=True):
                self.display.begin(of_the_point(point))
                self.display.end(outcome)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._open:
                self._close(_stopped(error))
        except (Exception, KeyboardInterrupt) as second:
            if error is None:
                raise
            print(f"segbench: {_stopped(second)} again: {explain(second)}", file=sys.stderr)

    def _close(self, stopped: str | None) -> None:
        """Write, send and show what was measured, and give the folder back."""
        self.display.close()
        with suppress(OSError):  # a full disk, of which the points have told
            if stopped:
                sweep_folder.mark_killed(self.folder, f"the sweep was {stopped} before this point had a result")
            elif self._launcher not in ON_THIS_MACHINE:  # it has waited for every point
                sweep_folder.mark_killed(self.folder, other_machines=True)
        results = write_results(self.folder, self.axes, self.config.report is not None, warn)
        all_sent = not self._plan and self._launcher in ON_THIS_MACHINE
        all_sent = all_sent and not any(outcome.untracked for outcome in self.display.outcomes)
        self._tracked.close_sweep(results, bool(stopped), all_sent)
        self._open.close()
        if results.points or not stopped:
            show_results(results)
            if results.points:
                self._tracked.show_where()
        if stopped:
            self._say_how_to_go_on(results, stopped)
        statuses = [record.status for record in results.records] + [each.status for each in self.display.outcomes]
        whole = results.written and len(results.points) >= len(self.points)
        self.failed = not whole or any(status in FAILURES for status in statuses)

    def _say_how_to_go_on(self, results: Results, stopped: str) -> None:
        done = sum(record.status != "killed" for record in results.records)
        if done:
            kept = f"{done} of {len(self.points)} points are measured and kept"
            print(f"segbench: {stopped}: {kept}; resume={self.folder} goes on with the others", file=sys.stderr)


def _stopped(error: BaseException | None) -> str | None:
    """How a sweep was ended before its end, in a word; `None` where it was not."""
    if isinstance(error, Terminated):
        return "terminated"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "stopped" if error else None
