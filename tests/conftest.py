"""Shared by all tests: no telemetry, no colours, one thread; a core and temporary files for each of the workers."""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="segbench-")  # where processes find out who else measures: see neighbours
tempfile.tempdir = None  # it is read again
atexit.register(shutil.rmtree, os.environ["TMPDIR"], ignore_errors=True)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would ours
if (worker := os.environ.get("PYTEST_XDIST_WORKER", "")) and hasattr(os, "sched_setaffinity"):
    processors = sorted(os.sched_getaffinity(0))  # what a worker starts computes on its core and not on its neighbour's
    os.sched_setaffinity(0, {processors[int(worker.removeprefix("gw")) % len(processors)]})
ROOT = Path(__file__).resolve().parent.parent
CommandLine = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Two threads on a busy machine can be far slower than one."""
    torch.set_num_threads(1)


@pytest.fixture
def segbench_in(tmp_path: Path) -> CommandLine:
    """Run the command line as a user would, in a temporary folder."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "run.py"), *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
            env={**os.environ, "COLUMNS": "100", **environment},
        )

    return run
