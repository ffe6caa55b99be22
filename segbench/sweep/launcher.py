"""What the launchers of clusters need and have in common. Each waits for every point, even where others failed."""

import shutil
from collections.abc import Sequence
from importlib.util import find_spec

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from segbench.config.overrides import of_the_point
from segbench.sweep.ending import Outcome, RefusedError

Overrides = Sequence[Sequence[str]]
NEEDS = {
    "SlurmLauncher": ("slurm", "hydra_plugins.hydra_submitit_launcher", "sbatch"),
    "RayLauncher": ("ray", "hydra_plugins.hydra_ray_launcher", None),
}
"""The extra that a launcher of ours needs, a package that the extra installs, and a command that must be there."""


def check_launcher(launcher: str, target: str) -> None:
    """Raise `RefusedError` where the choice `launcher`, of class `target`, cannot launch points from here."""
    extra, package, command = NEEDS.get(target.rpartition(".")[2], (None, "hydra_plugins", None))
    if find_spec(package) is None:
        raise RefusedError(f"hydra/launcher={launcher} needs the extra {extra}: install segbench[{extra}]")
    if command and shutil.which(command) is None:
        raise RefusedError(f"hydra/launcher={launcher} needs a machine with Slurm: there is no {command} here")


class ClusterLauncher(Launcher):
    """Keeps what Hydra hands to a launcher, and shows each point when its result arrives."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before the first launch."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def say(self, message: str) -> None:
        """One line beside the progress."""
        from segbench.sweep.display import Display

        if display := Display.of_the_sweep:
            display.say(message)

    def show(self, overrides: Sequence[str], returned: JobReturn) -> None:
        """Show here how a point ended in another process."""
        from segbench.sweep.display import Display

        if display := Display.of_the_sweep:
            display.begin(of_the_point(overrides))
            display.end(returned.return_value)


def without_result(reason: str) -> JobReturn:
    """The result of a point that sent none back: it failed, and the sweep goes on."""
    outcome = Outcome("failed", reason, unrecorded=True)
    return JobReturn(status=JobStatus.COMPLETED, _return_value=outcome)


def last_line(error: object) -> str:
    """The line of an error or of a traceback that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -^~")]
    return lines[-1] if lines else type(error).__name__
