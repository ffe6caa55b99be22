"""Shared by all tests: no telemetry, no colours, one thread; a core and temporary files for each of the workers."""

import getpass
import multiprocessing.util
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
INDUCTOR_CACHE = f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}"
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", INDUCTOR_CACHE)  # where it would be without the next lines
AROUND = os.environ.setdefault("TESTS_TMPDIR", tempfile.gettempdir())  # workers' folders do not lie in each other:
TEMPORARY = tempfile.mkdtemp(prefix="segbench-", dir=AROUND)  # paths of sockets in them must be short
"""No test waits for what somebody else measures: `segbench.point.neighbours` looks among temporary files."""
Path(TEMPORARY).chmod(0o1777)  # as /tmp itself: a PostgreSQL server runs as another user
os.environ["TMPDIR"], tempfile.tempdir = TEMPORARY, None
multiprocessing.util.Finalize(None, shutil.rmtree, (TEMPORARY, True), exitpriority=-200)  # after its own files there
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


@pytest.fixture
def segbench_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """The same in this process, which has loaded PyTorch, and without a tracker: MLflow would keep its store open."""
    from segbench import __main__

    neighbours = tmp_path / "neighbours"  # those of other tests are no concern of this one
    neighbours.mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["segbench", *arguments, "tracker=none"])
            patch.setattr(tempfile, "tempdir", str(neighbours))
            patch.setattr(__main__, "stop_in_order", lambda: None)
            patch.setenv("COLUMNS", "100")
            patch.setenv("HYDRA_FULL_ERROR", "0")
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                __main__.main()
            out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(arguments, ended.value.code, out, err)

    return run
