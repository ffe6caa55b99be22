"""Hydra's callback around every point; it shows progress, and only in the process that controls the sweep."""

from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from segbench.config.overrides import of_the_point
from segbench.sweep.display import Display


class ProgressCallback(Callback):
    """Shows each point of a sweep when it begins and when it has ended."""

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Show which point runs."""
        if display := Display.of_the_sweep:
            display.begin(of_the_point(config.hydra.overrides.task))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Show how it ended; what it left undone by raising, Hydra raises again."""
        job_return.cfg = job_return.hydra_cfg = None  # Hydra keeps what jobs return until a sweep's end
        if (display := Display.of_the_sweep) and job_return.status is JobStatus.COMPLETED:
            display.end(job_return.return_value)
