"""tracker=none: the records on disk are all there is."""

from pathlib import Path

from segbench.point.record import Record


class NoTracker:
    """Takes the calls of a sweep and its points, and sends nothing."""

    def __init__(self, parent_run: str | None = None) -> None:
        self.parent_run = parent_run

    def prepare(self) -> None: ...

    def start_sweep(self, *_: object) -> None: ...

    def log_point(self, record: Record, folder: Path) -> bool:
        """Returns that nothing is left to send."""
        return True

    def where(self, run_id: str | None) -> list[str]:
        """No pages show the runs."""
        return []
