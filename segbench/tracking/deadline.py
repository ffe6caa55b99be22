"""A call that may take so long and no longer."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class _Overdue(BaseException):
    """Passes by whatever handles ordinary errors and tries again."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Interrupt the body and raise `TimeoutError` where it takes longer.

    Python delivers signals to its main thread: elsewhere, and on systems without this signal, nothing is limited.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    running, overdue, started = True, False, time.monotonic()

    def ring(number: int, frame: FrameType | None) -> None:
        if running:
            raise _Overdue

    handler = signal.signal(signal.SIGALRM, ring)
    other_s, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _Overdue:
        overdue = True
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if other_s:
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, other_s - (time.monotonic() - started)))
    if overdue:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
