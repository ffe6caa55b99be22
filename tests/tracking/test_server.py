"""A shared MLflow server with PostgreSQL: real ones, up, down, slow, hanging, killed, by addresses with passwords."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import ROOT

from segbench.point.record import Record, save
from segbench.tracking.address import PASSWORD as PASSWORD_VARIABLE
from segbench.tracking.address import USERNAME, VARIABLE
from segbench.tracking.store import ATTEMPTS, settings
from segbench.tracking.tracker import MlflowTracker, TrackerError

pytest.importorskip("psycopg", reason="psycopg is not installed: it comes with the extra `server`")
import servers
from servers import PASSWORD, QUOTED_PASSWORD, MlflowServer, Postgres, free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        servers.postgres_programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)"
    ),
]
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
from segbench.tracking.tracker import MlflowTracker
from test_server import point
tracker = MlflowTracker(None, "segbench", timeout_s=60)
tracker.prepare()
tracker.parent_run = tracker.start_sweep("sweep", [], uuid.uuid4().hex)
for seed in range(int(sys.argv[1])):
    tracker.log_point(*point(Path(tracker.parent_run) / str(seed)))
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


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the tracker sets in the environment of this process goes after the test."""
    for name in {*settings(1), VARIABLE, USERNAME, PASSWORD_VARIABLE} - {"MLFLOW_DISABLE_TELEMETRY"}:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def http(port: int) -> str:
    return f"http://user:{QUOTED_PASSWORD}@{servers.HOST}:{port}"


def point(folder: Path) -> tuple[Record, Path]:
    record = Record("ok", None, [f"f={folder}"], {}, {}, {}, {"latency_ms/median": 1.0}, started="2026-01-01T00:00:00Z")
    folder.mkdir(parents=True)
    save(record, folder)
    return record, folder


def start(folder: Path, *arguments: str, address: str) -> subprocess.Popen[str]:
    """A sweep in a folder of its own, whose sockets are watched."""
    (folder / "watch").mkdir(parents=True)
    (folder / "watch" / "sitecustomize.py").write_text(WATCH)
    watched = {"PYTHONPATH": str(folder / "watch"), "SOCKETS": str(folder / "sockets")}
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_DISABLE_TELEMETRY"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), "-m", *TINY, "tracker=mlflow_server", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**kept, **watched, "HYDRA_FULL_ERROR": "1", "COLUMNS": "100", VARIABLE: address},
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


def runs(address: str) -> tuple[list, list]:
    """The runs of sweeps and those of points in a store."""
    from mlflow import MlflowClient

    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("segbench")
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    return [run for run in found if run not in children], children


def test_a_sweep_arrives_whole(server: MlflowServer, postgres: Postgres, tmp_path: Path) -> None:
    out, err = finish(start(tmp_path, "channels=8,16", address=http(server.port)), tmp_path, points=2)
    assert "warning" not in err
    (parent,), children = runs(server.url)
    assert len(children) == 2 and {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    for run in (parent, *children):
        assert re.search(rf"^{server.url}/#/.*{run.info.run_id}", out, re.MULTILINE) or run is parent
        files = {path.name for path in server.artifacts.rglob(f"{run.info.run_id}/artifacts/*")}
        assert files == ({"comparison.csv"} if run is parent else {"record.json", "config.yaml"})
    stored = next(server.artifacts.rglob("record.json")).read_text() + str([run.data for run in (parent, *children)])
    assert PASSWORD not in stored and QUOTED_PASSWORD not in stored
    assert servers.listening(server.process) == servers.listening(postgres.process) == {servers.HOST}


def test_a_foreign_host_header_is_refused(server: MlflowServer) -> None:
    """Which is why a reverse proxy's name needs --allowed-hosts."""
    request = urllib.request.Request(f"{server.url}/api/2.0/mlflow/experiments/search", headers={"Host": "example.org"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request)


@pytest.mark.parametrize("database", ["shared", "direct"])
def test_four_processes_at_once_lose_nothing(
    server: MlflowServer, postgres: Postgres, tmp_path: Path, database: str
) -> None:
    """In a server's store and, directly, in an empty database: there each creates the tables if it is the first."""
    address = http(server.port) if database == "shared" else postgres.create(database)
    before = {run.info.run_id for run in runs(server.url)[0]} if database == "shared" else set()
    environment = {**os.environ, VARIABLE: address, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    command = [sys.executable, "-c", TRACKED, "5"]
    started = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in started:
        err = process.communicate(timeout=200)[1]
        assert process.returncode == 0, err
    parents, children = runs(server.url if database == "shared" else address)
    new = [run for run in parents if run.info.run_id not in before]
    assert len(new) == 4 and {run.info.status for run in (*new, *children)} == {"FINISHED"}
    for parent in new:
        assert sum(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children) == 5


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_server_that_is_down_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    address = f"{scheme}://user:{QUOTED_PASSWORD}@{servers.HOST}:{free_port()}/db"
    monkeypatch.setenv(VARIABLE, address)
    with pytest.raises(
        TrackerError, match=rf"{VARIABLE}={scheme}://.*{urlsplit(address).port}/db .*refused"
    ) as warning:
        MlflowTracker(None, "segbench", timeout_s=30).prepare()
    assert PASSWORD not in str(warning.value) and QUOTED_PASSWORD not in str(warning.value)


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_server_that_hangs_is_waited_for_in_bounds(
    server: MlflowServer, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """Before the first answer, and in the middle; afterwards the points of this process do not try."""
    real = server.port if scheme == "http" else postgres.port
    address = http(real) if scheme == "http" else postgres.create("hanging")
    with servers.proxy(real) as proxy:
        monkeypatch.setenv(VARIABLE, address.replace(f":{real}", f":{proxy.port}"))
        tracker = MlflowTracker(None, "segbench", timeout_s=4)
        tracker.prepare()
        assert tracker.log_point(*point(tmp_path / "0"))
        proxy.hangs = True
        time.sleep(1.5)  # a database's connections are used for a second
        before = proxy.accepted
        for call in (lambda: tracker.log_point(*point(tmp_path / "1")), tracker.prepare):
            with pytest.raises(TrackerError, match="no answer within 4 s" if scheme == "http" else "timeout"):
                call()
        assert proxy.accepted - before <= 2 * ATTEMPTS
        assert not tracker.log_point(*point(tmp_path / "2"))


def test_a_sweep_goes_on_while_the_server_hangs(server: MlflowServer, tmp_path: Path) -> None:
    with servers.proxy(server.port, hangs=True) as proxy:
        _, err = finish(
            start(tmp_path, "channels=8,16", "tracker.timeout_s=3", address=http(proxy.port)), tmp_path, points=2
        )
    assert err.count("warning") == 1 and "no answer within 3 s" in err and "Records are kept" in err


def test_a_slow_server_gets_everything(server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.proxy(server.port, delay_s=0.05) as proxy:
        monkeypatch.setenv(VARIABLE, http(proxy.port))
        tracker = MlflowTracker(None, "segbench", timeout_s=30)
        tracker.prepare()
        tracker.parent_run = tracker.start_sweep("slow", [], "slow")
        assert tracker.log_point(*point(tmp_path / "0"))
    assert [run.data.tags["mlflow.parentRunId"] for run in runs(server.url)[1]].count(tracker.parent_run) == 1


def test_a_server_that_dies_in_mid_sweep(postgres: Postgres, tmp_path: Path) -> None:
    with servers.mlflow_server(postgres.create("dying"), tmp_path / "artifacts") as dying:
        folder = tmp_path / "sweep"
        process = start(folder, "seed=range(0,7)", address=http(dying.port))
        while len(list(folder.glob("outputs/*/*/*/record.json"))) < 3 and process.poll() is None:
            time.sleep(0.05)
        servers.stop(dying.process, servers.signal.SIGKILL)
        _, err = finish(process, folder, points=7)
    assert err.count("warning") == 1 and "Traceback" not in err
