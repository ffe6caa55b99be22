"""Records to MLflow. The only file that knows MLflow, which is imported when it is first needed."""

from __future__ import annotations

import getpass
import json
import logging
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from segbench.processes import is_gone, this_process
from segbench.record import ANALYSIS_FOLDER, FILE_NAME, Record, id_of

SWEEP_TAG, RECORD_TAG, POINT_TAG = "segbench.sweep", "segbench.record", "segbench.point"
"""Ids of a sweep and of a point's record, and the name of its folder: by them what was sent is found again."""
OWNER_TAG, INCOMPLETE_TAG = "segbench.owner", "segbench.incomplete"
"""The process that will end a run, and the mark of a run that nobody ended."""
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


class TrackerError(RuntimeError):
    """The tracker cannot be used; the message names it, says why, and what to do."""


class NoTracker:
    """tracker=none: the records on disk are all there is."""

    def __init__(self, parent_run: str | None = None) -> None:
        self.parent_run = parent_run

    def prepare(self) -> None:
        """Nothing to prepare."""

    def start_sweep(self, name: str, overrides: Sequence[str], sweep_id: str) -> None:
        """No run of its own."""

    def log_point(self, record: Record, folder: Path) -> None:
        """Nothing to send."""

    def supersede(self, folder: Path) -> None:
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
    """A parent run for a sweep, a child for every point, in an MLflow store."""

    def __init__(self, uri: str, experiment: str, parent_run: str | None = None) -> None:
        self.uri = uri
        self.experiment = experiment
        self.parent_run = parent_run

    @property
    def _client(self) -> Any:
        return _client(self.uri)

    @property
    def _experiment_id(self) -> str:
        return _experiment_id(self.uri, self.experiment)

    def prepare(self) -> None:
        """Create or open the store and the experiment, and close the runs of processes that are no more."""
        with self._explained(), self._alone_in_file():
            self._check_file()
            _ = self._experiment_id
            for run in self._runs("attributes.status = 'RUNNING'"):
                if _is_left_behind(run):
                    self._close(run)

    def start_sweep(self, name: str, overrides: Sequence[str], sweep_id: str) -> str:
        """Create the run of a sweep, or open the one that it already has, and return its id."""
        with self._explained():
            for run in self._runs(f"tags.{SWEEP_TAG} = '{sweep_id}'"):
                self._client.set_tag(run.info.run_id, OWNER_TAG, _owner())
                self._client.update_run(run.info.run_id, status="RUNNING")
                return str(run.info.run_id)
            tags = {"segbench.kind": "sweep", "segbench.overrides": " ".join(overrides), SWEEP_TAG: sweep_id}
            tags |= {OWNER_TAG: _owner(), **_source()}
            return str(self._client.create_run(self._experiment_id, run_name=name, tags=tags).info.run_id)

    def log_point(self, record: Record, folder: Path) -> None:
        """Send one point: parameters to compare by, metrics, tags, and record, configuration and analysis as files."""
        if self.parent_run == UNREACHABLE:
            return
        with self._explained():
            run = self._client.create_run(
                self._experiment_id,
                start_time=_started_ms(record),
                tags=self._tags(record) | {RECORD_TAG: id_of(folder), POINT_TAG: folder.name},
                run_name=_point_name(record),
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

    def missing(self, folders: Sequence[Path], run_id: str | None) -> list[Path]:
        """Those of the points' folders whose records have no whole run below `run_id`; all of them without it."""
        if run_id is None:
            return list(folders)
        with self._explained():
            children = self._runs(f"tags.mlflow.parentRunId = '{run_id}'")
            whole = {run.data.tags.get(RECORD_TAG) for run in children if _is_whole(run)}
            return [folder for folder in folders if id_of(folder) not in whole]

    def complete_point(self, record: Record, folder: Path) -> bool:
        """Send a point that may have been sent before, in part or whole; returns whether anything was to be sent."""
        with self._explained():
            runs = self._runs(f"tags.{RECORD_TAG} = '{id_of(folder)}'")
            if not runs:
                self.log_point(record, folder)
                return True
            run_id = runs[0].info.run_id
            if self.parent_run and runs[0].data.tags.get("mlflow.parentRunId") != self.parent_run:
                self._client.set_tag(run_id, "mlflow.parentRunId", self.parent_run)
            if _is_whole(runs[0]):
                return False
            self._client.update_run(run_id, status="RUNNING")
            self._fill(run_id, record, folder)
            if INCOMPLETE_TAG in runs[0].data.tags:
                self._client.delete_tag(run_id, INCOMPLETE_TAG)
            return True

    def supersede(self, folder: Path) -> None:
        """A later measurement takes the place of a point's record: a killed point's run goes, any other is marked."""
        if self.parent_run is None or self.parent_run == UNREACHABLE:
            return
        with self._explained():
            mine = f"tags.mlflow.parentRunId = '{self.parent_run}' and tags.{POINT_TAG} = '{folder.name}'"
            for run in self._runs(mine):
                if run.data.tags.get("segbench.status") == "killed":
                    self._client.delete_run(run.info.run_id)
                else:
                    self._client.set_tag(run.info.run_id, "segbench.superseded", "true")

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

    def finish_sweep(
        self, run_id: str, files: Sequence[Path], table: str, metrics: Mapping[str, float], killed: bool = False
    ) -> None:
        """Close the sweep's run with its table as description, its files and folders, and its headline figures."""
        with self._explained():
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

    def _end_children(self, run_id: str) -> None:
        """Close the runs of points that were being sent when the sweep was stopped."""
        left = f"tags.mlflow.parentRunId = '{run_id}' and attributes.status = 'RUNNING'"
        for child in self._runs(left):
            self._close(child)

    def where(self, run_id: str | None) -> list[str]:
        """Lines that say how to look at a sweep's runs in the browser."""
        if self.uri.startswith("sqlite:"):
            command = "uv run mlflow ui" if "UV" in os.environ else "mlflow ui"
            address, lines = "http://127.0.0.1:5000", [f"{command}      (in this folder, then open)"]
        else:
            address, lines = self.uri, []
        return [*lines, address + self._page(run_id)]

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

    @contextmanager
    def _alone_in_file(self) -> Iterator[None]:
        """Only one process at a time prepares a SQLite file: several would leave it without some of its tables."""
        if not self.uri.startswith("sqlite:///"):
            yield
            return
        path = Path(self.uri.removeprefix("sqlite:///"))
        with FileLock(path.with_name(f".{path.name}.lock")):
            yield

    def _check_file(self) -> None:
        """Raise at once where the SQLite file is none: MLflow itself would retry for minutes."""
        if not self.uri.startswith("sqlite:///"):
            return
        path = Path(self.uri.removeprefix("sqlite:///"))
        if path.exists():
            with sqlite3.connect(path) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            origin: BaseException = error
            while origin.__cause__ or origin.__context__:
                origin = origin.__cause__ or origin.__context__ or origin
            first = (str(origin).strip() or type(origin).__name__).splitlines()[0]
            raise TrackerError(
                f"the MLflow store tracker.uri={self.uri} cannot be used ({first}): move it away, "
                "name another one, or use tracker=none"
            ) from error


@lru_cache(maxsize=1)
def _client(uri: str) -> Any:
    """The process's connection to the store at `uri`."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.tracking.fluent"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


@lru_cache(maxsize=1)
def _experiment_id(uri: str, name: str) -> str:
    """The experiment's id, created where it is not there yet."""
    found = _client(uri).get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    return str(_client(uri).create_experiment(name, tags=EXPERIMENT_TAGS))


def _point_name(record: Record) -> str:
    """What was asked for, without what all points of a study have in common."""
    return " ".join(o for o in record.overrides if not o.startswith(("study=", "quick="))) or "defaults"


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
