"""Other segbench processes that measure on the same processors of this machine: wait for them, or count them.

Every process that measures keeps a file in a folder that all processes share: who it is and its processors. One that
starts beside others (`neighbours=mark`) adds itself to their files, because it may have ended before they look.
"""

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from segbench.base.checks import one_of
from segbench.base.processes import is_alive, this_process

log = logging.getLogger(__name__)
MODES = ("wait", "mark")
LOOK_EVERY_S = 0.1


class Neighbours:
    """A context in which this process measures; `met` is how many others did so at the same time.

    With `mode="wait"` it is entered when nobody else measures on one of the `processors`; with `mode="mark"` at once.
    """

    def __init__(self, mode: str, processors: Collection[str], folder: Path | None = None) -> None:
        self.mode = one_of("neighbours", mode, MODES)
        self.processors = set(processors)
        self.folder = folder or Path(tempfile.gettempdir()) / "segbench"
        self.met = 0
        self._file = self.folder / f"{os.getpid()}.json"
        self._entered = False

    def __enter__(self) -> Self:
        try:
            self._open_folder()
            told = False
            while present := self._enter():
                if not told:
                    pids = ", ".join(str(entry["pid"]) for entry in present)
                    message = f"segbench: waiting for process {pids}, which measures on the same processors"
                    print(message, file=sys.stderr)
                told = True
                time.sleep(LOOK_EVERY_S)
        except OSError as error:
            log.warning("neighbours are not looked for: %s", error)
        return self

    def __exit__(self, *_: object) -> None:
        if self._entered:
            with suppress(OSError, ValueError, KeyError, TypeError), self._lock():
                self.met += int(json.loads(self._file.read_text())["met"])
                self._file.unlink()

    def _open_folder(self) -> None:
        self.folder.mkdir(exist_ok=True)
        if self.folder.is_symlink() or self.folder.stat().st_uid not in (0, os.getuid()):
            raise OSError(f"{self.folder} is a link or somebody else's")
        with suppress(PermissionError):  # somebody else's, and open to all already
            self.folder.chmod(0o1777)

    def _enter(self) -> list[dict[str, Any]]:
        """Write this process's file, unless there is somebody to wait for: those are returned."""
        with self._lock():
            present = self._others()
            if present and self.mode == "wait":
                return list(present.values())
            for path, entry in present.items():
                with suppress(OSError), path.open("r+") as file:  # the system forbids "w" in files of other users
                    file.write(json.dumps({**entry, "met": entry["met"] + 1}))
            self._file.write_text(json.dumps({**this_process(), "processors": sorted(self.processors), "met": 0}))
            self._file.chmod(0o666)  # processes of other users add themselves
            self.met, self._entered = len(present), True
            return []

    def _lock(self) -> FileLock:
        return FileLock(self.folder / "lock", mode=0o666)

    def _others(self) -> dict[Path, dict[str, Any]]:
        """The files of others that measure on one of our processors; those of processes that have ended are deleted."""
        found = {}
        for path in self.folder.glob("*.json"):
            with suppress(OSError, ValueError, KeyError, TypeError):  # not a file of ours
                entry = json.loads(path.read_text())
                entry |= {"pid": int(entry["pid"]), "met": int(entry["met"])}
                shared = self.processors & set(entry["processors"])
                if not is_alive(entry):
                    path.unlink()
                elif shared and path != self._file:
                    found[path] = entry
        return found
