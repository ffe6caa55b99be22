"""Processes by what tells them apart for good: the machine, the number, and the time they were created."""

import socket
from collections.abc import Mapping
from typing import Any

import psutil


def this_process() -> dict[str, Any]:
    """This process, as `is_alive` knows it again."""
    process = psutil.Process()
    return {"host": socket.gethostname(), "pid": process.pid, "created": process.create_time()}


def is_alive(process: Mapping[str, Any]) -> bool:
    """Whether a process of this machine still runs, and no other under its number; a zombie has ended."""
    try:
        found = psutil.Process(int(process["pid"]))
        return abs(found.create_time() - float(process["created"])) < 1 and found.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OverflowError, ValueError, TypeError):
        return False


def is_gone(process: Mapping[str, Any]) -> bool:
    """Whether a process has certainly ended; of another machine's nothing is certain."""
    return process["host"] == socket.gethostname() and not is_alive(process)
