"""Sending the records of a folder that a tracker lacks: once each, whatever was sent or interrupted before."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from segbench.base.interrupts import held_back
from segbench.point.record import FILE_NAME, REPORT_FOLDER, TABLE, Record, load, load_sweep
from segbench.sweep.folder import STATE, claim, give_back, mark_killed, open_sweep, refuse_links
from segbench.tracking.none import NoTracker
from segbench.tracking.tracker import MlflowTracker, TrackerError


class Sent(NamedTuple):
    """How many records a folder has, how many of them were sent now, and why others cannot be read."""

    records: int
    now: int
    broken: list[str]


def send_missing(
    tracker: MlflowTracker | NoTracker,
    points: Sequence[Path],
    run_id: str | None,
    sent: Callable[[], object] = lambda: None,
) -> int:
    """Send the records of the points' folders that the tracker lacks below the run `run_id`; returns how many.

    `sent` is called after each. Raises `TrackerError` where the tracker cannot be used.
    """
    if isinstance(tracker, NoTracker):
        return 0
    tracker.parent_run = run_id
    count, refused = 0, []
    for folder in tracker.reconcile(points, run_id) if run_id else points:
        record = load(folder / FILE_NAME)
        try:
            with held_back():
                count += tracker.complete_point(record, folder)
        except TrackerError as error:
            tracker.prepare()  # raises where it is the tracker, and not this record, that cannot be used
            refused.append(f"{folder}: {error}")
        sent()
    if refused:
        raise TrackerError(f"{len(refused)} records were refused, the others are sent: {refused[0]}")
    return count


def send_folder(tracker: MlflowTracker, folder: Path, sent: Callable[[], object] = lambda: None) -> Sent:
    """Send what a tracker lacks of a sweep or of a single point, and close the sweep's run.

    Raises `BusyError` where a sweep runs in the folder, `TrackerError` where the tracker cannot be used, and
    `ValueError` where the record of a single point is not whole.
    """
    refuse_links(folder)
    lock = claim(folder)
    try:
        mark_killed(folder)
        if (folder / FILE_NAME).is_file():
            return Sent(1, send_missing(tracker, [folder], None, sent), [])
        points, broken = load_sweep(folder)
        count = _send_sweep(tracker, folder, dict(points), sent) if points else 0
        return Sent(len(points), count, broken)
    finally:
        give_back(lock)


def _send_sweep(tracker: MlflowTracker, folder: Path, points: dict[str, Record], sent: Callable[[], object]) -> int:
    from segbench.report.comparison import axes_of, headline
    from segbench.report.console import markdown

    sweep, records = open_sweep(folder, []), list(points.values())
    study = next((word.removeprefix("study=") for word in sweep.command if word.startswith("study=")), None)
    run_id = tracker.start_sweep(study or " ".join(sweep.command) or folder.name, sweep.command, sweep.id)
    count = send_missing(tracker, [folder / name for name in points], run_id, sent)
    files, killed = [folder / TABLE, folder / REPORT_FOLDER], any(record.status == "killed" for record in records)
    with held_back():
        tracker.finish_sweep(run_id, files, markdown(records, axes_of([folder])), headline(records), killed)
    return count


def sweeps_in(folder: Path) -> Iterator[Path]:
    """The folders of sweeps and single points at and below a folder, in order."""
    if any((folder / name).is_file() for name in (STATE, "multirun.yaml")) or (folder / ".hydra").is_dir():
        yield folder
        return
    for child in sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()):
        yield from sweeps_in(child)
