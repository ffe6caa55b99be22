"""A call in a process of its own: a module that crashes, hangs or fills the memory ends that process, not the sweep.

The process is forked from a server that has imported PyTorch once, because importing it takes seconds. The result comes
back through a pipe, on which the caller sleeps meanwhile: it takes no processor time from what is measured.
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


def in_fresh_process(call: Callable[[], R], timeout_s: float | None = None) -> R:
    """Make `call` in a process of its own and return what it returns; both must be picklable.

    What the call raises is raised here. `ProcessDiedError` says how a process ended that gave no result. A process that
    takes longer than `timeout_s` is killed with all that it started, and `PointTimeoutError` is raised.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, call), daemon=True)
    kills = _out_of_memory_kills()
    with _interrupts_ignored():  # Ctrl-C reaches all processes of the terminal: a server that still loads would crash
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
    """Give a process a second to end by itself, then kill it and every process that it has started."""
    process.join(1)
    group = process.pid
    assert group is not None
    with suppress(ProcessLookupError, PermissionError):  # it has ended, or it had not yet formed a group
        os.killpg(group, signal.SIGKILL)
    process.kill()
    process.join()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C in this process, and for good in those that it starts meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(connection: Connection, call: Callable[[], Any]) -> None:
    """Call and send the result. Ctrl-C is ignored here: it ends the caller, and this process ends with the caller."""
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
    """How a process ended, in one sentence; `out_of_memory` says that the system killed processes meanwhile."""
    if exit_code is None or exit_code >= 0:
        return f"its process ended by itself, with exit code {exit_code}, before it had a result"
    number = -exit_code
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    how = f"its process was killed ({name}: {signal.strsignal(number)})"
    killed_for_memory = number == signal.SIGKILL and out_of_memory
    return f"{how} while the system was killing processes because memory ran out" if killed_for_memory else how


def _out_of_memory_kills() -> int:
    """Processes that the system has killed since its start because memory ran out; 0 where it does not say."""
    try:
        counters = Path("/proc/vmstat").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in counters.splitlines() if line.startswith("oom_kill ")), 0)
