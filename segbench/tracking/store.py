"""An MLflow store: how long to wait for it, its client, its experiment, its runs, and where a browser shows them."""

import logging
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock

from segbench.tracking.address import VARIABLE

ATTEMPTS = 2
"""A request that fails is repeated once, since a server may have closed a connection that was idle."""
CREATION_LOCK = 0x5E6BE9C
"""PostgreSQL's number of the lock around the creation of tables; it frees the lock of a process that was killed."""
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Lets the pages of the experiment open with its runs and not with language-model traces."""
COMPARED = 50
"""Up to so many runs go into one link that compares them; more would make an address that browsers cut."""
ALL = 50_000
"""The most runs that MLflow returns at once; no sweep has so many points."""


def settings(timeout_s: float) -> dict[str, str]:
    """Variables of MLflow and of PostgreSQL's driver by which one request takes about `timeout_s` at most."""
    attempt_s = str(max(1, int(timeout_s / ATTEMPTS)))
    return {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": attempt_s,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(ATTEMPTS - 1),
        "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # a server may ask for an hour
        "MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE": "1",  # the driver limits the opening of a connection, not its use
        "PGCONNECT_TIMEOUT": attempt_s,
        "PGOPTIONS": f"-c statement_timeout={round(1000 * timeout_s)}",
    }


class Store:
    """The store at an address, as this process sees it. MLflow is imported when it is needed."""

    def __init__(self, address: str, experiment: str, timeout_s: float) -> None:
        self.address = address
        self.experiment = experiment
        self.is_file = address.startswith("sqlite:")
        self.failed = False  # once it did not serve a call, later points of this process do not wait for it
        for name, value in settings(timeout_s).items():
            os.environ.setdefault(name, value)  # what the user set stays

    @cached_property
    def client(self) -> Any:
        """The process's connection to the store."""
        return self._connect(self.address)

    def _connect(self, address: str) -> Any:
        """MLflow's client, which creates the tables of an empty database."""
        for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.tracking.fluent", "urllib3.connectionpool"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        from mlflow import MlflowClient
        from mlflow.store.db import utils

        utils.MAX_RETRY_COUNT = ATTEMPTS  # it would try ten times, for a hundred seconds, to open a database
        return MlflowClient(tracking_uri=address)

    @cached_property
    def experiment_id(self) -> str:
        """The experiment's id; the experiment is created where it is not there yet."""
        if found := self.client.get_experiment_by_name(self.experiment):
            return str(found.experiment_id)
        try:
            return str(self.client.create_experiment(self.experiment, tags=EXPERIMENT_TAGS))
        except Exception:
            if found := self.client.get_experiment_by_name(self.experiment):  # another process was faster
                return str(found.experiment_id)
            raise

    def open(self) -> None:
        """Connect, and create MLflow's tables and the experiment where the store is empty."""
        with self._creation_lock():
            _ = self.experiment_id

    @contextmanager
    def _creation_lock(self) -> Iterator[None]:
        """Let one process at a time create the tables: two that do so at the same time break the store.

        So does one that is killed meanwhile: a new SQLite file is made aside and moved to its place when it is whole.
        An MLflow server creates its tables before it answers.
        """
        if self.is_file:
            path = Path(self.address.removeprefix("sqlite:///").partition("?")[0])
            with FileLock(path.with_name(f".{path.name}.lock")):
                if not path.exists():
                    aside = path.with_name(f".{path.name}.new")
                    aside.unlink(missing_ok=True)
                    self._connect(f"sqlite:///{aside}")
                    aside.replace(path)
                yield
        elif self.address.startswith("postgresql"):
            from sqlalchemy import create_engine, text

            engine = create_engine(self.address)
            try:
                with engine.connect() as connection:
                    connection.execute(text(f"SELECT pg_advisory_lock({CREATION_LOCK})"))
                    yield
            finally:
                engine.dispose()
        else:
            yield

    def runs(self, wanted: str, most: int = ALL) -> list[Any]:
        """The runs of the experiment that a filter of MLflow describes."""
        return list(self.client.search_runs([self.experiment_id], wanted, max_results=most))

    def children(self, run_id: str, most: int = ALL) -> list[Any]:
        """The runs of a sweep's points."""
        return self.runs(f"tags.mlflow.parentRunId = '{run_id}'", most)

    def files_of(self, run: Any) -> Any:
        """Where a run's files go. The client's own methods would ask the store for the run first: 4 ms a point."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(run.info.artifact_uri, tracking_uri=self.address)


store_at = cache(Store)
"""The store at an address: the same one for all points that a process measures."""


def pages_of(store: Store, uri: str | None, run_id: str | None) -> list[str]:
    """Lines that say how to look at a sweep's runs; `uri` is the configured address, where there is one."""
    page = _page_of(store, run_id)
    if store.address.startswith("http"):
        return [store.address.rstrip("/") + page]
    command = "mlflow ui"
    if "UV" in os.environ:
        command = "uv run mlflow ui" if store.is_file else "uv run --extra server mlflow ui"
    if not store.is_file:
        command += " --backend-store-uri " + (shlex.quote(uri) if uri else f'"${VARIABLE}"')
    return [f"{command}      (in this folder, then open)", "http://127.0.0.1:5000" + page]


def _page_of(store: Store, run_id: str | None) -> str:
    """The page of all runs, of a sweep's run, or the one that compares its points."""
    if run_id is None:
        return f"/#/experiments/{store.experiment_id}/runs"
    points = store.children(run_id, COMPARED + 1)
    if not 2 <= len(points) <= COMPARED:
        return f"/#/experiments/{store.experiment_id}/runs/{run_id}"
    compared = ",".join(f'"{point.info.run_id}"' for point in reversed(points))
    experiments = quote(f'["{store.experiment_id}"]')
    return f"/#/compare-runs?runs={quote(f'[{compared}]')}&experiments={experiments}"
