"""Sending the records of a folder that a tracker lacks: once each, whatever was sent or interrupted before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from segbench.interrupts import held_back
from segbench.record import FILE_NAME, load
from segbench.sweep_folder import STATE
from segbench.track import MlflowTracker, NoTracker


def send_missing(
    tracker: MlflowTracker | NoTracker,
    points: Sequence[Path],
    run_id: str | None,
    sent: Callable[[], None] = lambda: None,
) -> int:
    """Send the records of the points' folders that the tracker lacks below the run `run_id`; returns how many.

    `sent` is called after each. Raises `TrackerError` where the tracker cannot be used.
    """
    if isinstance(tracker, NoTracker):
        return 0
    tracker.parent_run = run_id
    count = 0
    for folder in tracker.missing(points, run_id):
        record = load(folder / FILE_NAME)
        with held_back():
            count += tracker.complete_point(record, folder)
        sent()
    return count


def sweeps_in(folder: Path) -> Iterator[Path]:
    """The folders of sweeps and single points at and below a folder, in order."""
    if (folder / STATE).is_file() or (folder / "multirun.yaml").is_file() or (folder / FILE_NAME).is_file():
        yield folder
        return
    for child in sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()):
        yield from sweeps_in(child)
