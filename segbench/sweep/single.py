"""A single point: what a sweep's session does around its points, for one point alone."""

from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from segbench.base.checks import boolean
from segbench.point.record import ANALYSIS_FOLDER, FILE_NAME, load
from segbench.sweep import folder as sweep_folder
from segbench.sweep import job
from segbench.sweep.display import Display, warn
from segbench.sweep.ending import EXIT_FAILED, EXIT_REFUSED, FAILURES, EndedError, RefusedError
from segbench.sweep.results import Results, show_results
from segbench.sweep.session import OUTPUTS
from segbench.sweep.tracked import TrackedRun


def run(config: DictConfig) -> None:
    """Measure the point and show it. `EndedError` where it did not end `ok`."""
    folder, display = Path(HydraConfig.get().runtime.output_dir), Display()
    tracked = _checked(config, display, folder)
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
        raise EndedError(EXIT_FAILED if outcome.status in FAILURES else EXIT_REFUSED)


def _checked(config: DictConfig, display: Display, folder: Path) -> TrackedRun:
    """The tracker for the point. `RefusedError` for what a point cannot be asked for; Hydra's folder for it goes."""
    try:
        if boolean("quick", config.quick):
            raise RefusedError("quick=true shortens studies and sweeps: for a point, use timing=quick")
        if config.resume:
            raise RefusedError(f"resume={config.resume} goes on with a sweep: for a point, repeat the command")
        return TrackedRun.of(config, display.warn_once)
    except ValueError:
        with suppress(OSError):
            for path in (folder / ".hydra").iterdir():
                path.unlink()
            (folder / ".hydra").rmdir()
            folder.rmdir()
        raise


def _show(folder: Path, tracked: TrackedRun) -> None:
    from segbench.report.analysis import print_analysis
    from segbench.report.console import console_width

    record = load(folder / FILE_NAME)
    show_results(Results(folder, [(folder.name, record)]))
    tracked.show_where()
    if record.status == "ok" and (folder / ANALYSIS_FOLDER).is_dir():
        print_analysis(folder, record.metrics, Console(width=console_width()))
