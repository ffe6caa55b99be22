"""Records to MLflow. The only file that knows MLflow, which is imported when it is first needed."""

from __future__ import annotations

import functools
import getpass
import json
import logging
import os
import shlex
import sqlite3
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from segbench.base.checks import positive_number
from segbench.base.processes import is_gone, this_process
from segbench.point.record import ANALYSIS_FOLDER, FILE_NAME, Record, id_of
from segbench.tracking.address import VARIABLE, AddressError, address_of, shown, without_user
from segbench.tracking.database import alone
from segbench.tracking.deadline import deadline

SWEEP_TAG, RECORD_TAG = "segbench.sweep", "segbench.record"
"""Ids of a sweep and of a point's record: by them what was sent is found again."""
OWNER_TAG, INCOMPLETE_TAG = "segbench.owner", "segbench.incomplete"
"""The process that will end a run, and the mark of a run that nobody ended."""
SUPERSEDED_TAG = "segbench.superseded"
"""The mark of a run whose record a later measurement took the place of."""
RUN_STATUSES = {"failed": "FAILED", "timeout": "FAILED", "killed": "KILLED"}
RUNS_A_PAGE = 1000
UNREACHABLE = "unreachable"
"""Stands for the sweep's run where the store could not be used: its points do not try again."""
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Lets the pages of the experiment open with its runs and not with language-model traces."""
LONGEST_TAG = 5000
"""Characters that MLflow keeps of a description."""
COMPARED_BY_LINK = 50
"""Up to so many runs go into one compare link; more would make an address that browsers cut."""


DATABASE_ATTEMPTS = 3
"""MLflow would try ten times, for a hundred seconds, to open a database."""
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # with the password
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "PGCONNECT_TIMEOUT": "10",
}
"""Set for this process and those that it starts, unless the user set them."""
P = ParamSpec("P")
R = TypeVar("R")

_given_up: set[str] = set()
"""Addresses that did not serve a point of this process: its later points do not wait for them again."""


class TrackerError(RuntimeError):
    """The tracker cannot be used; the message names it, says why, and what to do."""


def in_time(method: Callable[P, R]) -> Callable[P, R]:
    """A tracker's method that waits for a server no longer than `timeout_s`, and explains what it raises."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        tracker: Any = args[0]
        with tracker._explained():
            if tracker.embedded or tracker.parent_run == UNREACHABLE:
                return method(*args, **kwargs)
            _load()  # takes seconds that are not the server's
            with deadline(tracker.timeout_s):
                return method(*args, **kwargs)

    return call


class NoTracker:
    """tracker=none: the records on disk are all there is."""

    def __init__(self, parent_run: str | None = None) -> None:
        self.parent_run = parent_run

    def prepare(self) -> None:
        """Nothing to prepare."""

    def start_sweep(self, name: str, overrides: Sequence[str], sweep_id: str) -> None:
        """No run of its own."""

    def log_point(self, record: Record, folder: Path) -> bool:
        """Nothing to send."""
        return True

    def supersede(self, folders: Sequence[Path], run_id: str) -> None:
        """Nothing was sent."""

    def missing(self, folders: Sequence[Path], run_id: str | None) -> list[Path]:
        """Nothing is ever missing."""
        return []

    def finish_sweep(
        self, run_id: str, files: Sequence[Path], table: str, metrics: Mapping[str, float], killed: bool = False
    ) -> None:
        """Nothing to send."""

    def where(self, run_id: str | None) -> list[str]:
        """Nothing to open."""
        return []


class MlflowTracker:
    """A parent run for a sweep, a child for every point, in an MLflow store.

    Without `uri` the environment has the address. `AddressError` where a password is in `uri`, and for the tracker of a
    sweep or a single point where there is no address. A server is given `timeout_s` for each of the methods.
    """

    def __init__(self, uri: str | None, experiment: str, timeout_s: float, parent_run: str | None = None) -> None:
        self.uri = uri
        self.experiment = experiment
        self.timeout_s = positive_number("tracker.timeout_s", timeout_s)
        self.parent_run = parent_run
        if uri or not parent_run:  # a point of a sweep, maybe on another machine, is measured without an address too
            address_of(uri)

    @property
    def address(self) -> str:
        """The whole address, from the environment where the configuration has none."""
        return without_user(address_of(self.uri))

    @property
    def embedded(self) -> bool:
        """Whether the store is a file, which nobody has to answer for."""
        return str(self.uri).startswith("sqlite:")

    @property
    def _client(self) -> Any:
        return _client(self.address)

    @property
    def _experiment_id(self) -> str:
        return _experiment_id(self.address, self.experiment)

    @property
    def _shown(self) -> str:
        return f"tracker.uri={self.uri}" if self.uri else f"{shown(self.address)} ({VARIABLE})"

    @in_time
    def prepare(self) -> None:
        """Create or open the store and the experiment, and close the runs of processes that are no more."""
        self._check_file()
        with alone(self.address):
            _ = self._experiment_id
        for run in self._runs("attributes.status = 'RUNNING'"):
            if _is_left_behind(run):
                self._close(run)
        _given_up.discard(str(self.uri))

    @in_time
    def start_sweep(self, name: str, overrides: Sequence[str], sweep_id: str) -> str:
        """Create the run of a sweep, or open the one that it already has, and return its id."""
        for run in self._runs(f"tags.{SWEEP_TAG} = '{sweep_id}'"):
            self._client.set_tag(run.info.run_id, OWNER_TAG, _owner())
            self._client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
        tags = {"segbench.kind": "sweep", "segbench.overrides": " ".join(overrides), SWEEP_TAG: sweep_id}
        tags |= {OWNER_TAG: _owner(), **_source()}
        return str(self._client.create_run(self._experiment_id, run_name=name, tags=tags).info.run_id)

    @in_time
    def log_point(self, record: Record, folder: Path) -> bool:
        """Send one point: parameters to compare by, metrics, tags, and record, configuration and analysis as files.

        Returns whether it was sent: nothing is where the store did not serve an earlier point of this process.
        """
        if self.parent_run == UNREACHABLE or self.uri in _given_up:
            return False
        self._send(record, folder)
        return True

    def _send(self, record: Record, folder: Path) -> None:
        tags = self._tags(record) | {RECORD_TAG: id_of(folder)}
        run = self._client.create_run(
            self._experiment_id, start_time=_started_ms(record), tags=tags, run_name=_point_name(record)
        )
        self._fill(run.info.run_id, record, folder)

    def _fill(self, run_id: str, record: Record, folder: Path) -> None:
        """Send what belongs into a run and end it; what it already has is sent again without being doubled."""
        self._log_values(run_id, record)
        self._client.log_text(run_id, (folder / FILE_NAME).read_text(encoding="utf-8"), FILE_NAME)
        self._client.log_dict(run_id, record.config, "config.yaml")
        if (folder / ANALYSIS_FOLDER).is_dir():
            self._client.log_artifacts(run_id, str(folder / ANALYSIS_FOLDER), ANALYSIS_FOLDER)
        ended_ms = _started_ms(record) + round(1000 * record.duration_s)
        self._client.set_terminated(run_id, RUN_STATUSES.get(record.status, "FINISHED"), end_time=ended_ms)

    @in_time
    def missing(self, folders: Sequence[Path], run_id: str | None) -> list[Path]:
        """Those of the points' folders whose records have no whole run below `run_id`; all of them without it."""
        if run_id is None:
            return list(folders)
        children = self._runs(f"tags.mlflow.parentRunId = '{run_id}'")
        whole = {run.data.tags.get(RECORD_TAG) for run in children if _is_whole(run)}
        return [
            folder for folder, record_id in zip(folders, map(id_of, folders), strict=True) if record_id not in whole
        ]

    @in_time
    def supersede(self, folders: Sequence[Path], run_id: str) -> None:
        """Below `run_id`, mark the runs of records that later ones took the place of; those of killed points go."""
        current = {id_of(folder) for folder in folders}
        for run in self._runs(f"tags.mlflow.parentRunId = '{run_id}'"):
            if run.data.tags.get(RECORD_TAG) in current or SUPERSEDED_TAG in run.data.tags:
                continue
            if run.data.tags.get("segbench.status") == "killed":
                self._client.delete_run(run.info.run_id)
            else:
                self._client.set_tag(run.info.run_id, SUPERSEDED_TAG, "true")

    @in_time
    def complete_point(self, record: Record, folder: Path) -> bool:
        """Send a point that may have been sent before, in part or whole; returns whether anything was to be sent."""
        runs = sorted(self._runs(f"tags.{RECORD_TAG} = '{id_of(folder)}'"), key=_is_whole, reverse=True)
        if not runs:
            self._send(record, folder)
            return True
        for doubled in runs[1:]:  # a request that was repeated although it had arrived
            self._client.delete_run(doubled.info.run_id)
        run_id, tags = runs[0].info.run_id, runs[0].data.tags
        if self.parent_run and tags.get("mlflow.parentRunId") != self.parent_run:
            self._client.set_tag(run_id, "mlflow.parentRunId", self.parent_run)
        if _is_whole(runs[0]):
            return False
        self._client.update_run(run_id, status="RUNNING")
        self._fill(run_id, record, folder)
        if INCOMPLETE_TAG in tags:
            self._client.delete_tag(run_id, INCOMPLETE_TAG)
        return True

    def _runs(self, wanted: str) -> list[Any]:
        """All runs of the experiment that a filter describes."""
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs([self._experiment_id], wanted, max_results=RUNS_A_PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _close(self, run: Any) -> None:
        """End the run of a process that is no more; a point's is not whole."""
        if run.data.tags.get("segbench.kind") == "point":
            self._client.set_tag(run.info.run_id, INCOMPLETE_TAG, "true")
        self._client.set_terminated(run.info.run_id, "KILLED")

    @in_time
    def finish_sweep(
        self, run_id: str, files: Sequence[Path], table: str, metrics: Mapping[str, float], killed: bool = False
    ) -> None:
        """Close the sweep's run with its table as description, its files and folders, and its headline figures."""
        self._client.set_tag(run_id, "mlflow.note.content", _shortened(table))
        for name, value in metrics.items():
            self._client.log_metric(run_id, name, value)
        for file in files:
            if file.is_dir():
                self._client.log_artifacts(run_id, str(file), file.name)
            elif file.exists():
                self._client.log_artifact(run_id, str(file))
        if killed:
            self._end_children(run_id)
        failed = any(metrics.get(f"points/{status}") for status in RUN_STATUSES)
        ended = "KILLED" if killed else "FAILED" if failed else "FINISHED"
        self._client.set_terminated(run_id, ended)
        _given_up.discard(str(self.uri))

    def _end_children(self, run_id: str) -> None:
        """Close the runs of points that were being sent when the sweep was stopped."""
        left = f"tags.mlflow.parentRunId = '{run_id}' and attributes.status = 'RUNNING'"
        for child in self._runs(left):
            self._close(child)

    @in_time
    def where(self, run_id: str | None) -> list[str]:
        """Lines that say how to look at a sweep's runs in the browser."""
        if self.uri in _given_up:
            return []
        if self.address.startswith("http"):
            return [self.address.rstrip("/") + self._page(run_id)]
        command = "uv run mlflow ui" if "UV" in os.environ else "mlflow ui"
        if not self.embedded:
            uri = shlex.quote(self.uri) if self.uri else f'"${VARIABLE}"'
            command += f" --backend-store-uri {uri}"
        return [f"{command}      (in this folder, then open)", "http://127.0.0.1:5000" + self._page(run_id)]

    def _page(self, run_id: str | None) -> str:
        if run_id is None:
            return f"/#/experiments/{self._experiment_id}/runs"
        mine = f"tags.mlflow.parentRunId = '{run_id}'"
        children = self._client.search_runs([self._experiment_id], mine, max_results=COMPARED_BY_LINK + 1)
        if not 2 <= len(children) <= COMPARED_BY_LINK:
            return f"/#/experiments/{self._experiment_id}/runs/{run_id}"
        runs = "[" + ",".join(f'"{child.info.run_id}"' for child in reversed(children)) + "]"
        experiments = f'["{self._experiment_id}"]'
        return f"/#/compare-runs?runs={urllib.parse.quote(runs)}&experiments={urllib.parse.quote(experiments)}"

    def _tags(self, record: Record) -> dict[str, str]:
        tags = {
            "segbench.kind": "point",
            "segbench.status": record.status,
            "segbench.commit": str(record.environment.get("commit")),
            "segbench.machine": str(record.environment.get("host")),
            "segbench.cpu": str(record.environment.get("cpu")),
            "segbench.overrides": " ".join(record.overrides),
            OWNER_TAG: _owner(),
            **_source(),
        }
        if commit := record.environment.get("commit"):
            tags["mlflow.source.git.commit"] = commit
        tags |= {f"segbench.{name}": str(verdict).lower() for name, verdict in record.verdicts.items()}
        if record.reason:
            tags["segbench.reason"] = tags["mlflow.note.content"] = record.reason
        if self.parent_run:
            tags["mlflow.parentRunId"] = self.parent_run
        return tags

    def _log_values(self, run_id: str, record: Record) -> None:
        from mlflow.entities import Metric, Param

        metrics = [Metric(name, value, _started_ms(record), 0) for name, value in record.metrics.items()]
        params = [Param(name, str(value)) for name, value in record.parameters.items()]
        self._client.log_batch(run_id, metrics=metrics, params=params)

    def _check_file(self) -> None:
        """Raise at once where the SQLite file is none: MLflow itself would retry for minutes."""
        if not self.embedded:
            return
        path = Path(self.address.removeprefix("sqlite:///").partition("?")[0])
        if path.exists():
            with sqlite3.connect(path) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except TrackerError:
            raise
        except AddressError as error:
            raise TrackerError(str(error)) from error
        except Exception as error:
            _given_up.add(str(self.uri))
            origin: BaseException = error
            while source := origin.__cause__ or (None if origin.__suppress_context__ else origin.__context__):
                origin = source
            first = (str(origin).strip() or type(origin).__name__).splitlines()[0]
            what, advice = ("store", "move it away") if self.embedded else ("server", "start it or wait for it")
            raise TrackerError(
                f"the MLflow {what} {self._shown} cannot be used ({first}): {advice}, name another one, or use "
                "tracker=none"
            ) from error


@lru_cache(maxsize=1)
def _load() -> None:
    """Import MLflow with settings that keep it quiet and quick to give up."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.tracking.fluent", "urllib3.connectionpool"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    from mlflow.store.db import utils

    utils.MAX_RETRY_COUNT = DATABASE_ATTEMPTS


@lru_cache(maxsize=1)
def _client(uri: str) -> Any:
    """The process's connection to the store at `uri`."""
    _load()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


@lru_cache(maxsize=1)
def _experiment_id(uri: str, name: str) -> str:
    """The experiment's id, created where it is not there yet."""
    if found := _client(uri).get_experiment_by_name(name):
        return str(found.experiment_id)
    try:
        return str(_client(uri).create_experiment(name, tags=EXPERIMENT_TAGS))
    except Exception:
        if found := _client(uri).get_experiment_by_name(name):  # another process was faster
            return str(found.experiment_id)
        raise


def _point_name(record: Record) -> str:
    """What was asked for, without what all points of a study have in common."""
    return " ".join(o for o in record.overrides if not o.startswith(("study=", "quick=", "tracker"))) or "defaults"


def _shortened(table: str) -> str:
    """The first rows of a Markdown table that fit into a description."""
    lines = table.splitlines()
    while len(text := "\n".join(lines)) > LONGEST_TAG - 100:
        lines = lines[:-1]
    missing = len(table.splitlines()) - len(lines)
    return text + (f"\n\n{missing} more rows in comparison.csv" if missing else "")


def _source() -> dict[str, str]:
    """What MLflow's own pages show as the origin of a run."""
    return {"mlflow.source.name": "segbench", "mlflow.source.type": "LOCAL", "mlflow.user": getpass.getuser()}


def _owner() -> str:
    """This process, for a run's tag."""
    return json.dumps(this_process())


def _is_left_behind(run: Any) -> bool:
    """Whether the process that should end a run has ended itself."""
    try:
        return is_gone(json.loads(run.data.tags[OWNER_TAG]))
    except (KeyError, ValueError, TypeError):  # not a run of ours, or of an older version
        return False


def _is_whole(run: Any) -> bool:
    """Whether everything of a point was sent into its run."""
    return run.info.status != "RUNNING" and INCOMPLETE_TAG not in run.data.tags


def _started_ms(record: Record) -> int:
    return round(1000 * datetime.fromisoformat(record.started).timestamp())
