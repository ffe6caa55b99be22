"""Sweeps on a real Slurm and a real Ray cluster, on this machine."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import ray_nodes
import slurm_daemons
from conftest import ROOT, CommandLine

from segbench.sweep import launcher as launchers
from segbench.sweep.ending import RefusedError

QUICK = ("timing=fixed_20_100", "timing.warmup_calls=2", "timing.timed_calls=10", "device.threads=1")
FOUR = ("-m", "block=dw,stm", "channels=8,16", *QUICK)
Environment = dict[str, str]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    if reason := slurm_daemons.missing():
        pytest.skip(reason)
    with slurm_daemons.slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture(scope="module")
def ray() -> Iterator[Environment]:
    if reason := ray_nodes.missing():
        pytest.skip(reason)
    with ray_nodes.ray_cluster() as environment:
        yield environment


def records(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("outputs/*/*/*/record.json"))]


def spans(found: list[dict]) -> list[tuple[float, float]]:
    """When each point began and ended, in order."""
    begins = [(datetime.fromisoformat(record["started"]).timestamp(), record["duration_s"]) for record in found]
    return sorted((begin, begin + duration) for begin, duration in begins)


def never_two_at_once(found: list[dict]) -> bool:
    times = spans(found)
    return all(ended <= begun for (_, ended), (begun, _) in pairwise(times))


def check_sweep(done: subprocess.CompletedProcess[str], folder: Path, launcher: str) -> list[dict]:
    """Four points on files, on the console and in MLflow; returns their records."""
    assert done.returncode == 0, done.stderr
    assert all(f"{count}/4 ok block=" in done.stderr for count in (1, 2, 3, 4)), done.stderr
    found = records(folder)
    assert [record["status"] for record in found] == ["ok"] * 4
    assert {record["environment"]["launcher"] for record in found} == {launcher}
    assert {record["environment"]["threads"] for record in found} == {1}
    assert not list(folder.glob("outputs/**/*.pkl")) and not list(folder.glob(".submitit/*"))

    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("segbench").experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    (parent,) = [run for run in runs if run not in children]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id} and len(children) == 4
    assert {run.info.status for run in runs} == {"FINISHED"}
    return found


def sweep_and(act: Callable[[], None], folder: Path, environment: Environment, *arguments: str) -> tuple[int, str, str]:
    """Start a sweep, do something to it, and return its exit code and what it printed."""
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, **pipes)
    try:
        act()
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
    return process.returncode, out, err


def eventually(look: Callable[[], str]) -> str:
    """What `look` finds, as soon as it finds anything."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.2)
    raise TimeoutError("it never came")


@pytest.mark.slow
def test_slurm_measures_one_point_at_a_time(slurm: Environment, segbench_in: CommandLine, tmp_path: Path) -> None:
    done = segbench_in(*FOUR, "hydra/launcher=submitit_slurm", **slurm)
    found = check_sweep(done, tmp_path, "submitit_slurm")
    assert never_two_at_once(found)
    assert {record["environment"]["slurm_node"] for record in found} == {"node"}
    assert len({record["environment"]["slurm_job"] for record in found}) == 4


@pytest.mark.slow
def test_a_killed_slurm_job_fails_alone(slurm: Environment, tmp_path: Path) -> None:
    def ask(*command: str) -> str:
        environment = {**os.environ, **slurm}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    def kill() -> None:
        job = eventually(lambda: ask("squeue", "--noheader", "--states=RUNNING", "--format=%i"))
        ask("scancel", "--signal=KILL", "--full", job)

    arguments = ("-m", "seed=1,2", *QUICK, "hydra/launcher=submitit_slurm")
    code, out, err = sweep_and(kill, tmp_path, slurm, *arguments)
    assert code == 1
    assert "failed seed=1  no record: its Slurm job" in err and "2/2" in err and "Traceback" not in err
    assert [record["overrides"][0] for record in records(tmp_path)] == ["seed=2"]
    assert "params" in out and list(tmp_path.glob(".submitit/*/*.err")), "the comparison, and the logs"
    assert ask("squeue", "--noheader") == ""


@pytest.mark.slow
def test_what_slurm_refuses_is_one_sentence(slurm: Environment, segbench_in: CommandLine) -> None:
    arguments = ("-m", "seed=1,2", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=nope", "tracker=none")
    done = segbench_in(*arguments, **slurm)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "Invalid partition name" in done.stderr


@pytest.mark.slow
def test_ray_measures_one_point_at_a_time_on_each_node(
    ray: Environment, segbench_in: CommandLine, tmp_path: Path
) -> None:
    found = check_sweep(segbench_in(*FOUR, "hydra/launcher=ray", **ray), tmp_path, "ray")
    nodes = {record["environment"]["ray_node"] for record in found}
    assert len(nodes) == 2
    for node in nodes:
        assert never_two_at_once([record for record in found if record["environment"]["ray_node"] == node])


@pytest.mark.slow
def test_a_killed_ray_worker_fails_alone(ray: Environment, tmp_path: Path) -> None:
    def worker() -> str:
        ours = psutil.Process().children(recursive=True)
        return next((str(each.pid) for each in ours if "ray::measure_in" in " ".join(each.cmdline())), "")

    code, out, err = sweep_and(
        lambda: psutil.Process(int(eventually(worker))).kill(),
        tmp_path,
        ray,
        "-m",
        "seed=1,2",
        *QUICK,
        "hydra/launcher=ray",
    )
    assert code == 1
    assert "no record: its process on Ray node" in err and "2/2" in err and "Traceback" not in err
    assert [record["status"] for record in records(tmp_path)] == ["ok"]
    assert "params" in out


@pytest.mark.slow
def test_nothing_of_ray_listens_to_the_network(ray: Environment) -> None:
    heard = [
        connection.laddr.ip
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert heard and set(heard) <= {"127.0.0.1", "::ffff:127.0.0.1"}


@pytest.mark.slow
def test_a_ray_that_does_not_answer_is_one_sentence(segbench_in: CommandLine) -> None:
    done = segbench_in("-m", "seed=1,2", "hydra/launcher=ray", "tracker=none", RAY_ADDRESS="127.0.0.1:1")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "127.0.0.1:1 cannot be reached" in done.stderr


@pytest.mark.parametrize(
    ("launcher", "extra"), [("submitit_slurm", "slurm"), ("submitit_slurm_cores", "slurm"), ("ray", "ray")]
)
def test_without_its_extra_a_launcher_is_refused_in_one_sentence(
    segbench_here: CommandLine, monkeypatch: pytest.MonkeyPatch, launcher: str, extra: str, tmp_path: Path
) -> None:
    absent = {name: (extra, "absent", None) for name, (extra, *_) in launchers.NEEDS.items()}
    monkeypatch.setattr(launchers, "NEEDS", absent)
    done = segbench_here("-m", f"hydra/launcher={launcher}")
    assert done.returncode == 2
    assert (
        done.stderr.strip() == f"segbench: hydra/launcher={launcher} needs the extra {extra}: install segbench[{extra}]"
    )
    assert not list(tmp_path.glob("outputs"))


def test_a_machine_without_slurm_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RefusedError, match="there is no sbatch here"):
        launchers.check_launcher("submitit_slurm", "hydra_plugins.segbench_plugins.SlurmLauncher")
    launchers.check_launcher("basic", "hydra._internal.core_plugins.basic_launcher.BasicLauncher")
