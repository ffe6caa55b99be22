"""A shared MLflow server with PostgreSQL: real ones, up, down, slow and killed, by addresses with passwords."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from conftest import ROOT

from segbench.point.record import load
from segbench.tracking.tracker import MlflowTracker, TrackerError

pytest.importorskip("psycopg", reason="psycopg is not installed: it comes with the extra `server`")
import servers
from servers import PASSWORD, QUOTED_PASSWORD, MlflowServer, Postgres, free_port

pytestmark = pytest.mark.skipif(
    servers.postgres_programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)"
)
TINY = ("timing=fixed_20_100", "timing.warmup_calls=2", "timing.timed_calls=10", "device.threads=1", "resolution=8")
WATCH = """
import os, sys
def watch(event, arguments):
    met = event in ("socket.connect", "socket.bind") and arguments[0].family != 1
    if met or event == "socket.getaddrinfo":
        with open(os.environ["SOCKETS"], "a") as file:
            print(arguments[1][0] if met else arguments[0], file=file)
sys.addaudithook(watch)
"""

TRACKED = """
import sys
import uuid
from pathlib import Path
from segbench.point.record import Record, save
from segbench.tracking.tracker import MlflowTracker
tracker = MlflowTracker(sys.argv[1], "segbench", timeout_s=60)
tracker.prepare()
tracker.parent_run = tracker.start_sweep("sweep", [], uuid.uuid4().hex)
folder = Path(tracker.parent_run)
folder.mkdir()
for seed in range(int(sys.argv[2])):
    started = "2026-01-01T00:00:00+00:00"
    record = Record("ok", None, [f"seed={seed}"], {"seed": seed}, {}, {}, {"latency_ms/median": 1.0}, started=started)
    save(record, folder)
    tracker.log_point(record, folder)
tracker.finish_sweep(tracker.parent_run, [], "", {})
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="module")
def server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with servers.mlflow_server(postgres.create("shared"), tmp_path_factory.mktemp("server") / "artifacts") as started:
        yield started


def with_password(url: str) -> str:
    return url.replace("http://", f"http://user:{QUOTED_PASSWORD}@")


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """A sweep in a folder of its own, whose sockets are watched."""
    (folder / "watch").mkdir(parents=True)
    (folder / "watch" / "sitecustomize.py").write_text(WATCH)
    watched = {"PYTHONPATH": str(folder / "watch"), "SOCKETS": str(folder / "sockets")}
    left_out = ("MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), "-m", *TINY, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**kept, **watched, "HYDRA_FULL_ERROR": "1", "COLUMNS": "100", **environment},
    )


def finish(process: subprocess.Popen[str], folder: Path, points: int) -> tuple[str, str]:
    """What the sweep printed, once it ended well: every point measured, no secret written, no socket but loopback's."""
    try:
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 0, err
    records = [json.loads(path.read_text()) for path in folder.glob("outputs/*/*/*/record.json")]
    assert [record["status"] for record in records] == ["ok"] * points
    texts = {"stdout": out, "stderr": err}
    texts |= {str(path): path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()}
    for secret in (PASSWORD, QUOTED_PASSWORD):
        assert [name for name, text in texts.items() if secret in text] == []
    assert set(texts.get(str(folder / "sockets"), "").split()) <= {servers.HOST, "::1"}
    return out, err


def sweep(folder: Path, *arguments: str, points: int = 2, **environment: str) -> tuple[str, str]:
    return finish(start(folder, *arguments, **environment), folder, points)


def runs(address: str) -> tuple[list, list]:
    """The runs of sweeps and those of points in a store."""
    from mlflow import MlflowClient

    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("segbench")
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    return [run for run in found if run not in children], children


def test_a_sweep_arrives_whole(server: MlflowServer, postgres: Postgres, tmp_path: Path) -> None:
    address = with_password(server.url)
    out, err = sweep(tmp_path, "channels=8,16,24,32", "tracker=mlflow_server", points=4, MLFLOW_TRACKING_URI=address)
    assert "warning" not in err
    (parent,), children = runs(server.url)
    assert len(children) == 4 and {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    for run in (parent, *children):
        assert re.search(rf"^{server.url}/#/.*{run.info.run_id}", out, re.MULTILINE) or run is parent
        files = {path.name for path in server.artifacts.rglob(f"{run.info.run_id}/artifacts/*")}
        assert files == ({"comparison.csv"} if run is parent else {"record.json", "config.yaml"})
    stored = next(server.artifacts.rglob("record.json")).read_text()
    assert "user:***@" in stored and PASSWORD not in stored and QUOTED_PASSWORD not in stored
    assert not any(PASSWORD in str(run.data) or QUOTED_PASSWORD in str(run.data) for run in (parent, *children))
    assert servers.listening(server.process) == servers.listening(postgres.process) == {servers.HOST}


def test_a_foreign_host_header_is_refused(server: MlflowServer) -> None:
    """Which is why a reverse proxy's name needs --allowed-hosts."""
    request = urllib.request.Request(f"{server.url}/api/2.0/mlflow/experiments/search", headers={"Host": "example.org"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request)


def test_four_sweeps_at_once_lose_nothing(server: MlflowServer, tmp_path: Path) -> None:
    before = {run.info.run_id for run in runs(server.url)[0]}
    folders = [tmp_path / str(number) for number in range(4)]
    started = [start(folder, "channels=8,16", f"tracker.uri={with_password(server.url)}") for folder in folders]
    for process, folder in zip(started, folders, strict=True):
        assert "warning" not in finish(process, folder, points=2)[1]
    parents, children = runs(server.url)
    check_whole([run for run in parents if run.info.run_id not in before], children, points=2)


def test_four_processes_at_once_in_an_empty_database(postgres: Postgres, tmp_path: Path) -> None:
    """Without a server: each creates the tables if it is the first."""
    address = postgres.create("direct")
    command = [sys.executable, "-c", TRACKED, address, "5"]
    started = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in started:
        err = process.communicate(timeout=120)[1]
        assert process.returncode == 0, err
    check_whole(*runs(address), points=5)


def check_whole(parents: list, children: list, points: int) -> None:
    assert len(parents) == 4 and {run.info.status for run in (*parents, *children)} == {"FINISHED"}
    for parent in parents:
        assert sum(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children) == points


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_server_that_is_down_costs_a_warning(tmp_path: Path, scheme: str) -> None:
    password = QUOTED_PASSWORD if scheme == "http" else PASSWORD  # databases take it as it is
    address = f"{scheme}://user:{password}@{servers.HOST}:{free_port()}/db"
    _, err = sweep(tmp_path, "channels=8,16", f"tracker.uri={address}")
    assert err.count("warning") == 1 and "Traceback" not in err
    assert f"tracker.uri={scheme}://user:***@{servers.HOST}" in err and "refused" in err
    assert "Records are kept" in err


def test_a_server_that_hangs_is_waited_for_once(server: MlflowServer, tmp_path: Path) -> None:
    with servers.proxy(server.url, hangs=True) as proxy:
        _, err = sweep(tmp_path, "channels=8,16", f"tracker.uri={proxy.url}", "tracker.timeout_s=3")
        assert err.count("warning") == 1 and "no answer within 3 s" in err
        path = next(tmp_path.glob("outputs/*/*/0/record.json"))
        record = load(path)
        tracker = MlflowTracker(proxy.url, "segbench", timeout_s=2)
        runs(server.url)  # imports MLflow, whose time is not the server's
        for longest_s, waits in ((20, True), (1, False)):
            began = time.monotonic()
            with pytest.raises(TrackerError, match="no answer within 2 s") if waits else nullcontext():
                tracker.log_point(record, path.parent)
            assert 2 * waits <= time.monotonic() - began < longest_s


def test_a_slow_server_gets_everything(server: MlflowServer, tmp_path: Path) -> None:
    before = len(runs(server.url)[1])
    with servers.proxy(server.url, delay_s=0.05) as proxy:
        _, err = sweep(tmp_path, "channels=8,16", f"tracker.uri={proxy.url}")
    assert "warning" not in err
    assert len(runs(server.url)[1]) == before + 2


def test_a_server_that_dies_in_mid_sweep(postgres: Postgres, tmp_path: Path) -> None:
    with servers.mlflow_server(postgres.create("dying"), tmp_path / "artifacts") as dying:
        folder = tmp_path / "sweep"
        process = start(folder, "seed=range(0,7)", f"tracker.uri={with_password(dying.url)}")
        while len(list(folder.glob("outputs/*/*/*/record.json"))) < 3 and process.poll() is None:
            time.sleep(0.05)
        servers.stop(dying.process, servers.signal.SIGKILL)
        _, err = finish(process, folder, points=7)
    assert err.count("warning") == 1 and "Traceback" not in err
