"""The folder of a sweep or a single point: who works in it, what was asked, which points began and never ended."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from segbench import record
from segbench.processes import is_gone, this_process
from segbench.record import Record

STATE, LOCK, BEGUN, SUPERSEDED = "sweep.json", ".lock", "begun.json", "superseded"
KILLED = "its process ended without a record: it was killed, the machine went down, or the disk was full"


class BusyError(RuntimeError):
    """Somebody else works in the folder."""


@dataclass(frozen=True)
class Sweep:
    """What was asked of a sweep: an id that stays with its folder, and the overrides that decide what is measured."""

    id: str
    command: list[str]


def claim(folder: Path) -> FileLock:
    """Take the folder for this process until it ends or calls `give_back`.

    Raises `BusyError` where another has it, and `ValueError` for a link in it: what is written there stays there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    if links:
        raise ValueError(f"{links[0]} is a link: a folder with links cannot be worked in, copy what they stand for")
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(f"{folder} is in use: a sweep runs in it, or its records are being sent") from None
    return lock


def give_back(lock: FileLock) -> None:
    """Leave the folder in order: no later run has to look for points that were killed in it."""
    with suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def open_sweep(folder: Path, command: Sequence[str]) -> Sweep:
    """The sweep of a folder, written there where it is new."""
    found = read_sweep(folder)
    if found is None:
        found = Sweep(uuid.uuid4().hex, list(command))
        record.write_json({"id": found.id, "command": found.command}, folder / STATE)
    return found


def read_sweep(folder: Path) -> Sweep | None:
    """The sweep of a folder; `None` where it holds none that can be read."""
    try:
        found = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return Sweep(str(found["id"]), [str(override) for override in found["command"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def newest(folder: Path, command: Sequence[str]) -> Path | None:
    """The newest sweep of the same command among the folders in `folder`."""
    states = sorted(folder.glob(f"*/{STATE}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for state in states:
        sweep = read_sweep(state.parent)
        if sweep and sorted(sweep.command) == sorted(command):
            return state.parent
    return None


def begin(folder: Path, point: Mapping[str, Any]) -> None:
    """Note in a point's folder that it is being measured; `point` are the parts of its record that are known."""
    record.write_json({"process": this_process(), "point": point}, folder / BEGUN)


def end(folder: Path) -> None:
    """The point has its record."""
    (folder / BEGUN).unlink(missing_ok=True)


def mark_killed(folder: Path, reason: str = KILLED, elsewhere: bool = False) -> int:
    """Write a `killed` record for every point that began in a folder, or below it, and has none; returns how many.

    Points of this process count as ended, and with `elsewhere` those of other machines, of which nobody can tell.
    """
    notes = sorted([*folder.glob(BEGUN), *folder.glob(f"*/{BEGUN}")])
    return sum(_mark_killed(note, reason, elsewhere) for note in notes)


def _mark_killed(note: Path, reason: str, elsewhere: bool) -> bool:
    point = note.parent
    for unwritten in [*point.glob(f".{record.FILE_NAME}.*"), *point.glob(f".{BEGUN}.*")]:
        unwritten.unlink(missing_ok=True)
    if _is_whole(point / record.FILE_NAME):
        end(point)
        return False
    try:
        begun = json.loads(note.read_text(encoding="utf-8"))
        process, here = begun["process"], this_process()
        over = process["host"] != here["host"] if elsewhere else False
        if not (over or process == here or is_gone(process)):
            return False
        found = Record(status="killed", reason=reason, **begun["point"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        found = Record("killed", f"{reason} (and {note.name} cannot be read: {error})", [], {}, {}, {}, started=now)
    supersede(point)
    record.save(found, point)
    end(point)
    return True


def _is_whole(path: Path) -> bool:
    try:
        record.load(path)
        return True
    except (OSError, ValueError):
        return False


def supersede(point: Path) -> bool:
    """Move what a point's folder has of an earlier measurement aside, to the sweep's folder of superseded points.

    Returns whether there was something.
    """
    old = [point / name for name in (record.FILE_NAME, record.ANALYSIS_FOLDER) if (point / name).exists()]
    if not old:
        return False
    parent = point.parent / SUPERSEDED
    number = 1 + sum(1 for _ in parent.glob(f"{point.name}-*"))
    aside = parent / f"{point.name}-{number}"
    aside.mkdir(parents=True, exist_ok=True)
    for path in old:
        path.replace(aside / path.name)
    return True


def unfinished(outputs: Path) -> list[Path]:
    """Folders `outputs/<name>/<time>` that were left without order, by a process that is no more."""
    return sorted(lock.parent for lock in outputs.glob(f"*/*/{LOCK}"))


def tidy(outputs: Path) -> int:
    """Mark the killed points of every unfinished folder in which nobody works; returns how many there were."""
    count = 0
    for folder in unfinished(outputs):
        with suppress(BusyError, OSError):
            lock = claim(folder)
            count += mark_killed(folder)
            give_back(lock)
    return count
