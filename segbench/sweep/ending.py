"""How points and commands end: what a point brings home, exit codes, and the exceptions that carry them upwards."""

import os
from dataclasses import dataclass

EXIT_OK, EXIT_FAILED, EXIT_REFUSED = 0, 1, 2
FAILURES = ("failed", "timeout", "killed")
"""The statuses of points that make a command exit with 1."""


TRACEBACKS = "HYDRA_FULL_ERROR"
TRACEBACKS_WANTED = os.environ.get(TRACEBACKS) == "1"
"""Whether the user asked for tracebacks; later the variable is set for Hydra in any case."""


class RefusedError(ValueError):
    """The request cannot be served; the message says why, and what can."""


class EndedError(Exception):
    """The command has shown all it has to show, and exits with `code`, which is not 0."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


@dataclass(frozen=True)
class Outcome:
    """A point's status and its figure or its reason, small enough to come back from another process.

    `unrecorded` points have no record, and what `untracked` ones measured is not in the tracker yet.
    """

    status: str
    detail: str
    warnings: tuple[str, ...] = ()
    traceback: str | None = None
    unrecorded: bool = False
    untracked: bool = False
