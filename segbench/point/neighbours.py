"""Other segbench processes that measure on the same processors of this machine: wait for them, or count them.

Every process that measures keeps a small file in a common folder for temporary files: who it is, its processors, since
when. A file whose process has ended counts for nothing. A process that arrives while another measures leaves its file
there when it is done, so that the other finds out at its own end that somebody was there.
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
from types import TracebackType
from typing import Any, Self

from filelock import FileLock

from segbench.base.checks import one_of
from segbench.base.processes import is_alive, this_process

log = logging.getLogger(__name__)
MODES = ("wait", "mark")
LOOK_EVERY_S = 0.1
KEPT_S = 3600.0
"""How long files stay whose measurement is over."""


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
        self._entry: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            self._open_folder()
            told = False
            while present := self._enter():
                if not told:
                    pids = ", ".join(str(entry["pid"]) for entry in present)
                    print(
                        f"segbench: waiting for process {pids}, which measures on the same processors", file=sys.stderr
                    )
                told = True
                time.sleep(LOOK_EVERY_S)
        except OSError as error:
            log.warning("neighbours are not looked for: %s", error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._entry:
            return
        with suppress(OSError), self._lock():
            arrived = [entry for entry in self._others() if entry["began"] >= self._entry["began"]]
            if self.met:
                self._write(ended=time.time())
            else:
                self._file.unlink(missing_ok=True)
            self.met += len(arrived)

    def _open_folder(self) -> None:
        self.folder.mkdir(exist_ok=True)
        if self.folder.is_symlink() or self.folder.stat().st_uid not in (0, os.getuid()):
            raise OSError(f"{self.folder} is a link or somebody else's")
        with suppress(PermissionError):  # somebody else's, and open to all already
            self.folder.chmod(0o1777)

    def _enter(self) -> list[dict[str, Any]]:
        """Write this process's file, unless there is somebody to wait for: those are returned."""
        with self._lock():
            present = [entry for entry in self._others() if "ended" not in entry and is_alive(entry)]
            if present and self.mode == "wait":
                return present
            self.met = len(present)
            self._write(**this_process(), processors=sorted(self.processors), began=time.time())
            return []

    def _write(self, **entry: Any) -> None:
        """Add to this process's file. Nobody reads meanwhile, and nobody needs it after a crash: it is not synced."""
        self._entry |= entry
        self._file.write_text(json.dumps(self._entry))

    def _lock(self) -> FileLock:
        return FileLock(self.folder / "lock", mode=0o666)

    def _others(self) -> list[dict[str, Any]]:
        """The files of others that compute, or computed, on one of our processors; old ones are deleted."""
        found = []
        for path in self.folder.glob("*.json"):
            if path == self._file:
                continue
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # not a file of ours
                entry = json.loads(path.read_text())
                if self.processors & set(entry["processors"]):
                    found.append({"pid": int(entry["pid"]), **entry, "began": float(entry["began"])})
                over = "ended" in entry or not is_alive(entry)
                if over and time.time() - path.stat().st_mtime > KEPT_S:
                    path.unlink()
        return found
