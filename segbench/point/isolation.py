"""A call in a process of its own: whatever happens to it, the caller is told and goes on.

The process is forked from a server that has imported the heavy libraries once, so that a start costs a fork. The result
comes back through a pipe, whole or not at all, and the caller sleeps meanwhile.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from segbench.base.errors import PointTimeoutError, ProcessDiedError

R = TypeVar("R")
PRELOADED = ("segbench.point.preload",)
SIGNALS = {
    signal.SIGSEGV: "a segmentation fault",
    signal.SIGABRT: "an abort",
    signal.SIGBUS: "a bus error",
    signal.SIGFPE: "an arithmetic fault",
    signal.SIGILL: "an illegal instruction",
}


def in_fresh_process(call: Callable[[], R], timeout_s: float | None = None) -> R:
    """Make `call` in a process of its own and return what it returns; both must be picklable.

    Raises `ProcessDiedError` where the process ended without a result, and else what the call raised. After `timeout_s`
    the process is killed with all that it started, and `PointTimeoutError` is raised.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, call), daemon=True)
    kills = _out_of_memory_kills()
    with _interrupts_ignored():  # the server inherits it: while it loads, Ctrl-C is for its caller alone
        forkserver.ensure_running()
    process.start()
    theirs.close()
    try:
        if not ours.poll(timeout_s):
            raise PointTimeoutError(f"no result after {timeout_s:.4g} s")
        succeeded, result = ours.recv()
    except (EOFError, OSError):
        process.join()
        raise ProcessDiedError(_how(process.exitcode, _out_of_memory_kills() > kills)) from None
    finally:
        ours.close()
        _end(process)
    if not succeeded:
        raise result
    value: R = result
    return value


def _end(process: BaseProcess) -> None:
    """Let a process end by itself for a second, then kill it, and whatever it has started and left behind."""
    process.join(1)
    group = process.pid
    assert group is not None
    with suppress(ProcessLookupError, PermissionError):  # it has ended, or it had not yet formed a group
        os.killpg(group, signal.SIGKILL)
    process.kill()
    process.join()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(connection: Connection, call: Callable[[], Any]) -> None:
    """Call and send the result. Ctrl-C is ignored: the caller takes it, and when the caller ends, this process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_caller, daemon=True).start()
    answer: tuple[bool, Any]
    try:
        answer = True, call()
    except Exception as error:
        answer = False, error
    connection.send(answer)
    connection.close()


def _end_with_caller() -> None:
    """Sleep until the caller has ended, then end this process, whatever it is doing."""
    caller = multiprocessing.parent_process()
    assert caller is not None
    caller.join()
    os.killpg(0, signal.SIGKILL)


def _how(exit_code: int | None, out_of_memory: bool) -> str:
    """How a process ended, in one sentence."""
    if exit_code is None or exit_code >= 0:
        return f"its process ended by itself, with exit code {exit_code}, before it had a result"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal
        return f"its process was killed (signal {-exit_code})"
    if -exit_code == signal.SIGKILL and out_of_memory:
        return f"its process was killed ({name}) while the system was killing processes because memory ran out"
    if -exit_code in SIGNALS:
        return f"its process crashed: {SIGNALS[signal.Signals(-exit_code)]} ({name})"
    return f"its process was killed ({name})"


def _out_of_memory_kills() -> int:
    """Processes that the system has killed since its start because memory ran out; 0 where it does not say."""
    try:
        counters = Path("/proc/vmstat").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in counters.splitlines() if line.startswith("oom_kill ")), 0)
