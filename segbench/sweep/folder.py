"""The folder of a sweep or a single point: who works in it, what was asked, which points began and never ended."""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from segbench.base.files import write_json
from segbench.base.processes import is_alive, is_gone, this_process
from segbench.point import record
from segbench.point.record import Record
from segbench.sweep.ending import RefusedError

DEEPEST = 4
"""Sweeps lie in outputs/<name>/<time>, those of several studies in outputs/studies/<time>/<folder>/<study>."""
STATE, LOCK, BEGUN, SUPERSEDED = "sweep.json", ".lock", "begun.json", "superseded"
KILLED = "its process ended without a record: it was killed, the machine went down, or the disk was full"


class BusyError(RefusedError):
    """Somebody else works in the folder."""


@dataclass(frozen=True)
class Sweep:
    """What was asked of a sweep. The id stays with its folder, and `command` decides what is measured.

    `axes` are the keys that were swept, in order; sweeps of earlier versions do not name them.
    """

    id: str
    command: list[str]
    axes: list[str] | None = None


def refuse_links(folder: Path) -> None:
    """Raise `RefusedError` for a link in the folder: what is written below it could land anywhere."""
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    if links:
        raise RefusedError(f"{links[0]} is a link: a folder with links cannot be worked in, copy what they stand for")


def claim(folder: Path) -> FileLock:
    """Take the folder for this process until it ends or calls `give_back`. `BusyError` where another has it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(f"{folder} is in use: a sweep runs in it, or its records are being sent") from None
    return lock


def give_back(lock: FileLock) -> None:
    """Leave the folder. Its lock file stays where a point has begun and not ended: `tidy` finds the folder by it."""
    path = Path(lock.lock_file)
    with suppress(OSError):
        if not _begun(path.parent):
            path.unlink(missing_ok=True)
    lock.release()


def _begun(folder: Path) -> list[Path]:
    """The notes of points that began in a folder, or in folders in it, and have not ended."""
    return sorted([*folder.glob(BEGUN), *folder.glob(f"*/{BEGUN}")])


def open_sweep(folder: Path, command: Sequence[str], axes: Sequence[str] | None = None) -> Sweep:
    """The sweep of a folder, written there where it is new or now has other axes as well."""
    known = read_sweep(folder)
    found = known or Sweep(uuid.uuid4().hex, list(command))
    if axes is not None and (known is None or known.axes is not None):  # those of earlier versions stay unknown
        found = replace(found, axes=list(dict.fromkeys([*(found.axes or ()), *axes])))
    if found != known:
        write_json({key: value for key, value in asdict(found).items() if value is not None}, folder / STATE)
    return found


def read_sweep(folder: Path) -> Sweep | None:
    """The sweep of a folder; `None` where it holds none that can be read."""
    try:
        found = json.loads((folder / STATE).read_text(encoding="utf-8"))
        axes = [str(key) for key in found["axes"]] if "axes" in found else None
        return Sweep(str(found["id"]), [str(override) for override in found["command"]], axes)
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


def begin(folder: Path, point: Mapping[str, Any]) -> str:
    """Note in a point's folder that it is being measured, with what is known of its record; returns the time."""
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    write_json({"process": this_process(), "point": {**point, "started": started}}, folder / BEGUN)
    return started


def end(folder: Path) -> None:
    """The point has its record."""
    (folder / BEGUN).unlink(missing_ok=True)


def still_measured(folder: Path) -> str | None:
    """Which process of this machine measures a point of the folder right now, in words; `None` where there is none."""
    for note in _begun(folder):
        with suppress(OSError, ValueError, KeyError, TypeError):
            process = json.loads(note.read_text(encoding="utf-8"))["process"]
            if is_alive(process) and process["host"] == this_process()["host"]:
                return f"process {process['pid']} measures point {note.parent.name} of {folder}"
    return None


def mark_killed(folder: Path, reason: str = KILLED, other_machines: bool = False) -> int:
    """Write a `killed` record for every point that began in a folder, or below it, and has none; returns how many.

    Points of this process count as ended, and those of its dead processes. Whether a process of another machine still
    runs cannot be seen from here: its points count as ended with `other_machines` only.
    """
    return sum(_mark_killed(note, reason, other_machines) for note in _begun(folder))


def _mark_killed(note: Path, reason: str, other_machines: bool) -> bool:
    point = note.parent
    for unwritten in [*point.glob(f".{record.FILE_NAME}.*"), *point.glob(f".{BEGUN}.*")]:
        unwritten.unlink(missing_ok=True)
    if _is_whole(point / record.FILE_NAME):
        end(point)
        return False
    try:
        begun = json.loads(note.read_text(encoding="utf-8"))
        process, here = begun["process"], this_process()
        given_up = other_machines and process["host"] != here["host"]
        if not (given_up or process == here or is_gone(process)):
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


def supersede(point: Path) -> None:
    """Move what a point's folder has of an earlier measurement aside, to the sweep's folder of superseded points."""
    old = [point / name for name in (record.FILE_NAME, record.ANALYSIS_FOLDER) if (point / name).exists()]
    if not old:
        return
    parent = point.parent / SUPERSEDED
    aside = next(path for number in count(1) if not (path := parent / f"{point.name}-{number}").exists())
    aside.mkdir(parents=True)
    for path in old:
        path.replace(aside / path.name)


def still_locked(outputs: Path, depth: int = DEEPEST) -> Iterator[Path]:
    """Folders, at most so deep below `outputs`, with a lock file: somebody works there, or was killed there."""
    if not outputs.is_dir() or not depth:
        return
    for folder in sorted(path for path in outputs.iterdir() if path.is_dir() and not path.is_symlink()):
        if (folder / LOCK).is_file():
            yield folder
        elif not (folder / STATE).is_file() and not (folder / ".hydra").is_dir():
            yield from still_locked(folder, depth - 1)


def tidy(outputs: Path) -> None:
    """Give killed points their records, in every folder that was locked when its process was killed."""
    for folder in still_locked(outputs):
        with suppress(RefusedError, OSError, ValueError):
            refuse_links(folder)
            lock = claim(folder)
            mark_killed(folder)
            give_back(lock)
