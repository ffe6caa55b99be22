"""Faults that are really provoked: kills, crashes, hangs, full disks, locked stores, several sweeps at once."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import mlflow
import pytest
from conftest import ROOT, CommandLine
from survive import QUICK, survive

from segbench.point.record import load_sweep

pytestmark = pytest.mark.slow
CGROUPS = Path("/sys/fs/cgroup/memory")
MODULES = """
import ctypes, os, time
import torch
from torch import nn

class Fine(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 4, 1)

class Crash(Fine):
    def forward(self, x):
        ctypes.string_at(0)

class Hang(Fine):
    def forward(self, x):
        os.system("sleep 1000")

class Greedy(Fine):
    def forward(self, x):
        return super().forward(x) + torch.ones(3 * 2**30 // 4).sum()
"""
CUSTOM = ("-m", "model=custom", "input.shape=[3,8,8]")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *arguments, *QUICK],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sweeps(folder: Path) -> list[Path]:
    return sorted(folder.glob("outputs/*/*"))


def statuses(sweep: Path) -> list[str]:
    points, broken = load_sweep(sweep)
    assert not broken
    return [record.status for _, record in points]


def runs(folder: Path) -> Counter[str]:
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("segbench").experiment_id], max_results=1000)
    return Counter(f"{run.data.tags['segbench.kind']} {run.info.status}" for run in found)


def wait_for(folder: Path, pattern: str, count: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 200
    while len(list(folder.glob(pattern))) < count and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    assert len(list(folder.glob(pattern))) >= count, process.communicate(timeout=10)


def sync(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "sync.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.long)])
def test_killed_at_random_moments_nothing_is_lost_doubled_or_left_open(tmp_path: Path, kills: int) -> None:
    found = survive(tmp_path, kills, seed=kills)
    assert found.faults == []
    assert sum(found.kills.values()) == kills


def test_sigterm_ends_in_order_and_the_next_start_goes_on(segbench_in: CommandLine, tmp_path: Path) -> None:
    process = start(tmp_path, "-m", "block=dw", "channels=8,10,12,14,16,18,20,22")
    wait_for(tmp_path, "outputs/*/*/*/record.json", 2, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143 and "Traceback" not in err, err
    assert "terminated: " in err and "goes on with the others" in err
    (sweep,) = sweeps(tmp_path)
    assert set(statuses(sweep)) <= {"ok", "killed"}
    assert not [name for name in runs(tmp_path) if name.endswith("RUNNING")]

    done = segbench_in("-m", "block=dw", "channels=8,10,12,14,16,18,20,22", *QUICK, "resume=true")
    assert done.returncode == 0, done.stderr
    assert "resume: " in done.stderr
    assert sweeps(tmp_path) == [sweep] and statuses(sweep) == ["ok"] * 8
    assert runs(tmp_path) == {"sweep FINISHED": 1, "point FINISHED": 8}
    earlier = [json.loads(path.read_text())["status"] for path in sweep.glob("superseded/*/record.json")]
    assert set(earlier) <= {"killed"}


def test_a_crash_ends_the_sweep_and_the_next_start_tells(segbench_in: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(MODULES)
    command = [*CUSTOM, "model.target=faulty.Fine,faulty.Crash", "seed=0,1", *QUICK]
    assert segbench_in(*command).returncode == -signal.SIGSEGV
    (sweep,) = sweeps(tmp_path)
    assert statuses(sweep) == ["ok"] * 2

    done = segbench_in(*command, "resume=true", "retry=[]")
    assert statuses(sweep)[2] == "killed"
    (sweep_of_one,) = (record for _, record in load_sweep(sweep)[0] if record.status == "killed")
    assert "without a record" in str(sweep_of_one.reason) and sweep_of_one.parameters["model.target"] == "faulty.Crash"
    assert done.returncode == -signal.SIGSEGV, "the second of the crashing points"
    done = segbench_in(*command, "resume=true", "retry=[]")
    assert done.returncode == 1, done.stderr
    assert Counter(statuses(sweep))["killed"] == 2
    assert "killed" in done.stdout and runs(tmp_path)["point KILLED"] == 2
    assert not [name for name in runs(tmp_path) if name.endswith("RUNNING")]


def test_a_hanging_module_is_ended_with_all_it_started(segbench_in: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(MODULES)
    command = [*CUSTOM, "model.target=faulty.Fine,faulty.Hang", *QUICK]
    done = segbench_in(*command, "point_timeout_s=8")
    assert done.returncode == 1
    (sweep,) = sweeps(tmp_path)
    assert statuses(sweep) == ["ok", "timeout"]
    assert "no result after 8 s (point_timeout_s)" in done.stdout
    assert runs(tmp_path) == {"sweep FAILED": 1, "point FINISHED": 1, "point FAILED": 1}
    sleeping = subprocess.run(["pgrep", "-fx", "sleep 1000"], capture_output=True, text=True)
    assert not sleeping.stdout, "what the module had started is gone too"

    again = segbench_in(*command, "point_timeout_s=8", "resume=true")
    assert "2 points keep their records, 0 are measured" in again.stderr and again.returncode == 1
    for wrong in ("0", "soon"):
        refused = segbench_in(f"point_timeout_s={wrong}", "tracker=none", *QUICK)
        assert refused.returncode == 2 and f"point_timeout_s={wrong} is not allowed" in refused.stdout


@contextmanager
def memory_limit(mebibytes: int) -> Iterator[Path]:
    """A control group, of the first version, with so much memory."""
    if not os.access(CGROUPS, os.W_OK) or not (CGROUPS / "cgroup.procs").is_file():
        pytest.skip("needs the right to make a memory control group (version 1)")
    group = CGROUPS / f"segbench-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(mebibytes * 2**20))
        yield group
    finally:
        until = time.monotonic() + 30
        while group.exists() and time.monotonic() < until:
            with suppress(OSError):  # a process that was killed has not quite gone
                group.rmdir()
            time.sleep(0.1)


def test_a_point_that_is_killed_for_memory_ends_alone(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(MODULES)
    with memory_limit(2048) as group:
        script = f'echo $$ > {group}/cgroup.procs && exec "$@"'
        command = [*CUSTOM, "model.target=faulty.Greedy,faulty.Fine", "seed=0,1", "isolation=process"]
        done = subprocess.run(
            ["sh", "-c", script, "sh", sys.executable, str(ROOT / "run.py"), *command, *QUICK],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 1, done.stderr
    (sweep,) = sweeps(tmp_path)
    assert Counter(statuses(sweep)) == {"ok": 2, "failed": 2}
    reasons = [str(record.reason) for _, record in load_sweep(sweep)[0] if record.status == "failed"]
    assert all("killed (SIGKILL: Killed)" in reason for reason in reasons), reasons


def test_a_full_disk_loses_nothing_that_was_measured(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        process = start(disk, "-m", "block=dw", "seed=range(0,40)", "tracker=none")
        out, err = process.communicate(timeout=300)
        assert process.returncode in (1, 2) and "Traceback" not in err, err
        assert "No space left" in out + err
        (sweep,) = sweeps(disk)
        kept = statuses(sweep)
        assert kept and set(kept) == {"ok"}
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        process = start(disk, "-m", "block=dw", "seed=range(0,40)", "tracker=none", "resume=true")
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert f"{len(kept)} points keep their records" in err
        assert statuses(sweep) == ["ok"] * 40
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_locked_store_is_filled_later(tmp_path: Path, segbench_in: CommandLine) -> None:
    assert segbench_in("-m", "channels=8,10", *QUICK).returncode == 0
    with sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        done = segbench_in("-m", "channels=12,14", *QUICK)
        assert done.returncode == 0 and "database is locked" in done.stderr
        holder.execute("ROLLBACK")
    assert [statuses(sweep) for sweep in sweeps(tmp_path)] == [["ok"] * 2] * 2
    assert runs(tmp_path) == {"sweep FINISHED": 1, "point FINISHED": 2}
    sent = sync(tmp_path, "outputs")
    assert sent.returncode == 0, sent.stderr
    assert "2 of 2 records sent" in sent.stdout and "0 of 2 records sent" in sent.stdout
    assert "0 of 2 records sent, 2 were there" in sync(tmp_path, str(sweeps(tmp_path)[1])).stdout
    assert runs(tmp_path) == {"sweep FINISHED": 2, "point FINISHED": 4}


def test_records_are_sent_once_whatever_is_interrupted(tmp_path: Path, segbench_in: CommandLine) -> None:
    assert segbench_in("-m", "channels=8,10,12,14,16,18", "tracker=none", *QUICK).returncode == 0
    assert segbench_in("channels=8", "tracker=none", *QUICK).returncode == 0
    command = [sys.executable, str(ROOT / "scripts" / "sync.py"), "outputs"]
    for seconds in (6, 6.5, 7):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        process.kill()
        process.wait()
    assert sync(tmp_path, "outputs").returncode == 0
    assert sync(tmp_path, "outputs").returncode == 0
    assert runs(tmp_path) == {"sweep FINISHED": 1, "point FINISHED": 7}
    assert sync(tmp_path, "nowhere").returncode == 2
    (tmp_path / "empty").mkdir()
    assert "no records below empty" in sync(tmp_path, "empty").stderr
    assert "tracker=none keeps nothing" in sync(tmp_path, "outputs", "tracker=none").stderr


def test_four_sweeps_at_once_into_one_new_store(tmp_path: Path) -> None:
    started = [start(tmp_path, "-m", "block=dw", "channels=8,10,12", f"seed={number}") for number in range(4)]
    for process in started:
        _, err = process.communicate(timeout=400)
        assert process.returncode == 0 and "warning" not in err, err
    assert [statuses(sweep) for sweep in sweeps(tmp_path)] == [["ok"] * 3] * 4
    assert runs(tmp_path) == {"sweep FINISHED": 4, "point FINISHED": 12}
    measured = [record for sweep in sweeps(tmp_path) for _, record in load_sweep(sweep)[0]]
    spans = sorted((datetime.fromisoformat(record.started).timestamp(), record.duration_s) for record in measured)
    ends = [began + duration_s for began, duration_s in spans]
    tolerance_s = 0.002  # of the time stamps
    assert all(end <= began + tolerance_s for end, (began, _) in zip(ends, spans[1:], strict=False)), "one at a time"


def test_what_resume_refuses(tmp_path: Path, segbench_here: CommandLine) -> None:
    for arguments, words in (
        (["resume=true"], "resume=True goes on with a sweep"),
        (["-m", "channels=8,10", "resume=nowhere"], "resume=nowhere is not allowed"),
    ):
        done = segbench_here(*arguments, *QUICK)
        assert done.returncode == 2 and words in done.stderr, done.stderr
    (tmp_path / "linked" / "0").mkdir(parents=True)
    (tmp_path / "linked" / "sweep.json").write_text('{"id": "x", "command": []}')
    (tmp_path / "linked" / "0" / ".hydra").symlink_to(tmp_path)
    done = segbench_here("-m", "channels=8,10", "resume=linked", *QUICK)
    assert done.returncode == 2 and "is a link" in done.stderr


def test_a_resumed_sweep_sees_what_has_changed(tmp_path: Path, segbench_in: CommandLine) -> None:
    (tmp_path / "faulty.py").write_text(MODULES)
    command = [*CUSTOM, "model.target=faulty.Fine", "seed=0,1", *QUICK]
    assert segbench_in(*command).returncode == 0
    (sweep,) = sweeps(tmp_path)
    path = sweep / "1" / "record.json"
    path.write_text(path.read_text()[:1000])
    done = segbench_in(*command, "resume=true")
    assert done.returncode == 0 and "1 points keep their records, 1 are measured" in done.stderr
    assert statuses(sweep) == ["ok", "ok"]
    assert len((sweep / "superseded" / "1-1" / "record.json").read_text()) == 1000

    (tmp_path / "faulty.py").write_text(MODULES + "# changed\n")
    done = segbench_in(*command, f"resume={sweep}")
    assert done.returncode == 0 and "0 points keep their records, 2 are measured" in done.stderr
    assert "records of another code of segbench or of the measured module do not stand" in done.stderr
    assert len(list(sweep.glob("superseded/*/record.json"))) == 3
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("segbench").experiment_id])
    assert sum(run.data.tags.get("segbench.superseded") == "true" for run in found) == 3

    assert segbench_in(*command, "resume=true", "retry=[ok]", "tracker=none").returncode == 0
    assert sync(tmp_path, str(sweep)).returncode == 0
    found = client.search_runs([client.get_experiment_by_name("segbench").experiment_id])
    assert sum("segbench.superseded" not in run.data.tags for run in found) == 1 + 2, "the sweep and its two points"
