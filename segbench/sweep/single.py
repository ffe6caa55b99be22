"""A single point: what a sweep's session does around its points, for one point alone."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from segbench.base.checks import boolean
from segbench.point.record import ANALYSIS_FOLDER, FILE_NAME, load
from segbench.sweep import folder as sweep_folder
from segbench.sweep import job
from segbench.sweep.display import Display, warn
from segbench.sweep.ending import EXIT_FAILED, EXIT_REFUSED, FAILURES, RefusedError
from segbench.sweep.results import Results, show_results
from segbench.sweep.session import OUTPUTS
from segbench.sweep.tracked import TrackedRun


def check(config: DictConfig) -> None:
    """Raise `RefusedError` for what a point cannot be asked for, before Hydra writes the configuration into its folder.

    The address of the tracker may come from a file, and hold a password that must not be written anywhere.
    """
    if boolean("quick", config.quick):
        raise RefusedError("quick=true shortens studies and sweeps: for a point, use timing=quick")
    if config.resume:
        raise RefusedError(f"resume={config.resume} goes on with a sweep: for a point, repeat the command")
    TrackedRun(config, warn)


def run(config: DictConfig) -> None:
    """Measure the point and show it; exits with 1 or 2 where it did not end `ok`."""
    folder, display = Path(HydraConfig.get().runtime.output_dir), Display()
    tracked = TrackedRun(config, display.warn_once)
    sweep_folder.tidy(OUTPUTS)
    lock = sweep_folder.claim(folder)
    tracked.open()
    if tracked.parent_run:
        config.tracker.parent_run = tracked.parent_run
    outcome = job.run(config)
    display.show_notes(outcome)
    sweep_folder.give_back(lock)
    if outcome.unrecorded:
        warn(outcome.detail)
    else:
        _show(folder, tracked)
    if outcome.status != "ok":
        raise SystemExit(EXIT_FAILED if outcome.status in FAILURES else EXIT_REFUSED)


def _show(folder: Path, tracked: TrackedRun) -> None:
    from segbench.report.analysis import print_analysis
    from segbench.report.console import console_width

    record = load(folder / FILE_NAME)
    show_results(Results(folder, [(folder.name, record)]))
    tracked.show_where()
    if record.status == "ok" and (folder / ANALYSIS_FOLDER).is_dir():
        print_analysis(folder, record.metrics, Console(width=console_width()))
