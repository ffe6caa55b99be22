"""How a point ended, as it travels from the process that measured it to the one that shows it."""

from dataclasses import dataclass


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
