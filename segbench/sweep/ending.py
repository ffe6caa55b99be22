"""How a command ends: its exit codes, and the exceptions that carry them up to the command line."""

import os

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
