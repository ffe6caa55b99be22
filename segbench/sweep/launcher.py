"""What the launchers of clusters have in common: every point is waited for, whatever becomes of the others."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from segbench.config.overrides import of_the_point
from segbench.sweep.ending import Outcome

Overrides = Sequence[Sequence[str]]


class ClusterLauncher(Launcher):
    """Keeps what Hydra hands to a launcher, and shows the points as they come home."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before the first launch."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def make_sweep_folder(self) -> None:
        """The points' folders are made where they run."""
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)

    def say(self, message: str) -> None:
        """One line beside the progress."""
        from segbench.sweep.display import Display

        if display := Display.of_the_sweep:
            display.say(message)

    def show(self, overrides: Sequence[str], returned: JobReturn) -> None:
        """Show how a point ended, which its own process cannot do here."""
        from segbench.sweep.display import Display

        if display := Display.of_the_sweep:
            display.begin(of_the_point(overrides))
            display.end(returned.return_value)


def without_result(reason: str) -> JobReturn:
    """Stands for the result of a point that brought none home: it failed, and the sweep goes on."""
    outcome = Outcome("failed", reason, unrecorded=True)
    return JobReturn(status=JobStatus.COMPLETED, _return_value=outcome)


def last_line(error: object) -> str:
    """The line of an error or of a traceback that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -^~")]
    return lines[-1] if lines else type(error).__name__
