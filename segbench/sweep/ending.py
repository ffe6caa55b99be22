"""How points and commands end: what a point sends back, exit codes, and the refusal of a request."""

import os
from dataclasses import dataclass

EXIT_FAILED, EXIT_REFUSED = 1, 2
FAILURES = ("failed", "timeout", "killed")
"""The statuses of points that make a command exit with 1."""
TRACEBACKS = "HYDRA_FULL_ERROR"
TRACEBACKS_WANTED = os.environ.get(TRACEBACKS) == "1"
"""Whether the user asked for tracebacks; later the variable is set for Hydra in any case."""


class RefusedError(ValueError):
    """The request cannot be served; the message says why, and what can."""


@dataclass(frozen=True)
class Outcome:
    """A point's status and its figure or its reason, small enough to be sent from another process.

    `unrecorded` points have no record, and what `untracked` ones measured is not in the tracker yet.
    """

    status: str
    detail: str
    warnings: tuple[str, ...] = ()
    traceback: str | None = None
    unrecorded: bool = False
    untracked: bool = False
