"""Shared by all tests: no telemetry, no colours, one thread."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
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
