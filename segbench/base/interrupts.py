"""Ctrl-C and SIGTERM: both stop a command in order, and neither between a measurement and its record."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED, EXIT_TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
REPEAT_S = 0.05
STOPPING = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a batch system sends it before it kills; handled wherever Ctrl-C is."""


def stop_in_order() -> None:
    """Let SIGTERM unwind the program as Ctrl-C does, and neither of them be lost, for this process."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _repeat


def _repeat(lost: "sys.UnraisableHookArgs") -> None:
    """Send a stop again a moment later that came inside a destructor, where Python ignores what is raised."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    number = signal.SIGTERM if issubclass(lost.exc_type, Terminated) else signal.SIGINT
    again = threading.Timer(REPEAT_S, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


@contextmanager
def held_back() -> Iterator[None]:
    """Let the first SIGINT or SIGTERM wait for the end of the block; a second one ends it where it is."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    arrived: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        if len(arrived) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if arrived:
            signal.raise_signal(arrived[0])
