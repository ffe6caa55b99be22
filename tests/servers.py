"""Real servers for tests, on loopback and ports of their own: PostgreSQL, MLflow, and a proxy that is slow or hangs."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

HOST = "127.0.0.1"
PASSWORD, QUOTED_PASSWORD = "s3cr!t-pw/1", "s3cr%21t-pw%2F1"
START_S = 60


def postgres_programs() -> Path | None:
    """The folder with PostgreSQL's programs, which Debian does not put on the path."""
    on_path = shutil.which("postgres")
    found = [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found and (found[-1] / "initdb").exists() else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def stop(process: subprocess.Popen[bytes], sign: signal.Signals = signal.SIGTERM) -> None:
    """End a server and what it started, each by its own id."""
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        for member in (process, *family):
            with suppress(psutil.NoSuchProcess):
                member.send_signal(sign)
        for member in psutil.wait_procs(family, timeout=10)[1]:
            member.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)
    process.kill()
    process.wait()


def listening(process: subprocess.Popen[bytes]) -> set[str]:
    """The addresses on which a process and what it started accept connections."""
    root = psutil.Process(process.pid)
    open_ = [connection for member in (root, *root.children(recursive=True)) for connection in member.net_connections()]
    return {connection.laddr.ip for connection in open_ if connection.status == psutil.CONN_LISTEN}


@dataclass
class Postgres:
    """A cluster with password authentication."""

    port: int
    process: subprocess.Popen[bytes]

    def address(self, database: str) -> str:
        return f"postgresql://segbench:{QUOTED_PASSWORD}@{HOST}:{self.port}/{database}"

    def create(self, database: str) -> str:
        """A new, empty database; returns its address."""
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}".encode())
        return self.address(database)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """PostgreSQL refuses to run as root: there it runs as the user that its package made."""
    programs = postgres_programs()
    assert programs
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="segbench-postgres-") as name:
        folder, port = Path(name), free_port()
        (folder / "password").write_text(PASSWORD)
        for path in (folder, folder / "password"):
            shutil.chown(path, user) if user else None
        options = ["--username=segbench", f"--pwfile={folder}/password", "--auth=scram-sha-256", "--encoding=UTF8"]
        new = [str(programs / "initdb"), "-D", f"{folder}/data", "--no-locale", "--no-sync", *options]
        subprocess.run(new, user=user, cwd=folder, check=True, capture_output=True)
        settings = [f"listen_addresses={HOST}", f"port={port}", "unix_socket_directories=", "fsync=off"]
        command = [str(programs / "postgres"), "-D", f"{folder}/data", *(w for s in settings for w in ("-c", s))]
        process = subprocess.Popen(command, user=user, cwd=folder, stderr=subprocess.DEVNULL)
        try:
            server = Postgres(port, process)
            _wait(process, lambda: psycopg.connect(server.address("postgres")).close())
            yield server
        finally:
            stop(process, signal.SIGINT)


@dataclass
class MlflowServer:
    """An MLflow server with its artifact folder."""

    port: int
    artifacts: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@contextmanager
def mlflow_server(store: str, artifacts: Path) -> Iterator[MlflowServer]:
    """As docs/tracking.md starts it."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    log = artifacts.with_suffix(".log").open("wb")
    process = subprocess.Popen(
        [*command, "--artifacts-destination", str(artifacts)], env=environment, stdout=log, stderr=log
    )
    try:
        server = MlflowServer(port, artifacts, process)
        _wait(process, lambda: urllib.request.urlopen(f"{server.url}/health", timeout=2).close())
        yield server
    finally:
        stop(process)
        log.close()


@dataclass
class Proxy:
    """Passes bytes on to a server, each piece after a delay; while it hangs, it accepts connections only."""

    server: int
    delay_s: float = 0.0
    hangs: bool = False
    accepted: int = 0
    listener: socket.socket = field(default_factory=lambda: socket.create_server((HOST, 0)))

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def run(self) -> None:
        held = []
        with suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                self.accepted += 1
                held.append(client)
                if not self.hangs:
                    there = socket.create_connection((HOST, self.server))
                    for pair in ((client, there), (there, client)):
                        threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                time.sleep(self.delay_s)
                while self.hangs:
                    time.sleep(0.05)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)


@contextmanager
def proxy(port: int, delay_s: float = 0.0, hangs: bool = False) -> Iterator[Proxy]:
    made = Proxy(port, delay_s, hangs)
    threading.Thread(target=made.run, daemon=True).start()
    try:
        yield made
    finally:
        made.listener.close()


def _wait(process: subprocess.Popen[bytes], attempt) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            return attempt()
        except (OSError, psycopg.OperationalError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
