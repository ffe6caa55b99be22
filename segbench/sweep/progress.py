"""Progress over the points of a sweep, on stderr; drawn between points only, never while one is timed."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

STYLES = {"ok": "green", "unsupported": "yellow", "failed": "red"}


class Progress:
    """A bar with the running point's name on a terminal, and one line for every finished point anywhere."""

    def __init__(self, total: int | None) -> None:
        self.console = Console(stderr=True)
        self._total = total
        self._done = 0
        self._name = ""
        self._bar = RichProgress(
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=self.console,
            auto_refresh=False,  # a drawing thread would disturb the timed calls
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("loading PyTorch", total=total)
        self._bar.start()
        self._bar.refresh()

    def expect(self, total: int) -> None:
        """So many points are left to measure."""
        self._total = total
        self._bar.update(self._task, total=total)

    def begin(self, name: str) -> None:
        """Show that the point `name` runs."""
        self._name = name
        self._bar.update(self._task, description=name)
        self._bar.refresh()

    def end(self, status: str, detail: str) -> None:
        """Show that the running point ended in `status`; `detail` is its figure or its reason."""
        self._done += 1
        count = f"{self._done}/{self._total}" if self._total else f"{self._done}"
        style = STYLES.get(status, "red")
        self.console.print(
            f"[dim]{count}[/] [{style}]{status}[/] {escape(self._name)}  {escape(detail)}",
            highlight=False,
            soft_wrap=True,
        )
        self._bar.advance(self._task)
        self._bar.refresh()

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()
