"""What a sweep and its points send to MLflow: a run for the sweep, and below it one for each point."""

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from segbench.base.checks import positive_number
from segbench.point.record import ANALYSIS_FOLDER, FILE_NAME, Record, id_of
from segbench.tracking import runs
from segbench.tracking.address import VARIABLE, address_of, shown, without_user
from segbench.tracking.address import TrackerError as TrackerError
from segbench.tracking.store import Store, pages_of, store_at

UNREACHABLE = "unreachable"
"""Stands for the sweep's run where the store could not be used: its points do not try again."""
Method = TypeVar("Method", bound=Callable[..., Any])


def explained(method: Method) -> Method:
    """Let a tracker's method raise `TrackerError` only, whatever MLflow, the network or the file system raises."""

    @functools.wraps(method)
    def call(self: "MlflowTracker", *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except TrackerError:
            raise
        except Exception as error:
            self._store.failed = True
            raise TrackerError(_explanation(self, error)) from error

    return cast(Method, call)


class MlflowTracker:
    """Sends to the MLflow store at `uri`, or at the environment's address.

    A request waits for a server about `timeout_s` at most. `AddressError` where `uri` holds a password, and where there
    is no address; a point of a sweep, perhaps on another machine, is measured without an address, and warns later.
    """

    def __init__(self, uri: str | None, experiment: str, timeout_s: float, parent_run: str | None = None) -> None:
        self.uri = uri
        self.experiment = experiment
        self.timeout_s = positive_number("tracker.timeout_s", timeout_s)
        self.parent_run = parent_run
        if uri or not parent_run:
            address_of(uri)

    @property
    def _store(self) -> Store:
        return store_at(without_user(address_of(self.uri)), self.experiment, self.timeout_s)

    @explained
    def prepare(self) -> None:
        """Create or open the store and the experiment, and close the runs that ended processes left open."""
        self._store.open()
        for run in self._store.runs("attributes.status = 'RUNNING'"):
            if runs.is_left_behind(run):
                self._close(run)
        self._store.failed = False

    @explained
    def start_sweep(self, name: str, overrides: Sequence[str], sweep_id: str) -> str:
        """Create the run of a sweep, or open the one that it already has, and return its id."""
        client = self._store.client
        for run in self._store.runs(f"tags.{runs.SWEEP_TAG} = '{sweep_id}'"):
            client.set_tag(run.info.run_id, runs.OWNER_TAG, runs.owner())
            client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
        tags = runs.sweep_tags(sweep_id, overrides)
        return str(client.create_run(self._store.experiment_id, run_name=name, tags=tags).info.run_id)

    @explained
    def log_point(self, record: Record, folder: Path) -> bool:
        """Send one point: parameters to compare by, metrics, tags, and record, configuration and analysis as files.

        Returns whether it was sent: nothing is where the store did not serve an earlier point of this process.
        """
        if self.parent_run == UNREACHABLE or self._store.failed:
            return False
        self._send(record, folder)
        return True

    @explained
    def reconcile(self, folders: Sequence[Path], run_id: str) -> list[Path]:
        """Those of the points' folders whose records have no whole run below `run_id`.

        Runs there whose records were replaced by later ones are marked, and those of killed points deleted.
        """
        records = {folder: id_of(folder) for folder in folders}
        whole = set()
        for run in self._store.children(run_id):
            tags = run.data.tags
            if (record_id := tags.get(runs.RECORD_TAG)) in records.values():
                whole |= {record_id} if runs.is_whole(run) else set()
            elif tags.get("segbench.status") == "killed":
                self._store.client.delete_run(run.info.run_id)
            elif runs.SUPERSEDED_TAG not in tags:
                self._store.client.set_tag(run.info.run_id, runs.SUPERSEDED_TAG, "true")
        return [folder for folder, record_id in records.items() if record_id not in whole]

    @explained
    def complete_point(self, record: Record, folder: Path) -> bool:
        """Send a point that may have been sent before, in part or whole; returns whether anything was to be sent."""
        sent = self._store.runs(f"tags.{runs.RECORD_TAG} = '{id_of(folder)}'")
        if not sent:
            self._send(record, folder)
            return True
        run, *doubled = sorted(sent, key=runs.is_whole, reverse=True)
        client, run_id, tags = self._store.client, run.info.run_id, run.data.tags
        for other in doubled:  # a request that was repeated although it had arrived
            client.delete_run(other.info.run_id)
        if self.parent_run and tags.get(runs.PARENT_TAG) != self.parent_run:
            client.set_tag(run_id, runs.PARENT_TAG, self.parent_run)
        if runs.is_whole(run):
            return False
        client.update_run(run_id, status="RUNNING")
        self._fill(run, record, folder)
        if runs.INCOMPLETE_TAG in tags:
            client.delete_tag(run_id, runs.INCOMPLETE_TAG)
        return True

    @explained
    def finish_sweep(
        self, run_id: str, files: Sequence[Path], table: str, metrics: Mapping[str, float], killed: bool = False
    ) -> None:
        """Close the sweep's run with its table as description, its files and folders, and its headline figures.

        The runs of points that were being sent when the sweep was killed end with it.
        """
        client = self._store.client
        client.set_tag(run_id, runs.NOTE_TAG, runs.note(table))
        client.log_batch(run_id, metrics=runs.metrics_of(metrics))
        for file in files:
            if file.is_dir():
                client.log_artifacts(run_id, str(file), file.name)
            elif file.exists():
                client.log_artifact(run_id, str(file))
        for point in self._store.children(run_id) if killed else []:
            if point.info.status == "RUNNING":
                self._close(point)
        failed = any(metrics.get(f"points/{status}") for status in runs.STATUSES)
        client.set_terminated(run_id, "KILLED" if killed else "FAILED" if failed else "FINISHED")
        self._store.failed = False

    @explained
    def where(self, run_id: str | None) -> list[str]:
        """Lines that say how to look at a sweep's runs in the browser."""
        return [] if self._store.failed else pages_of(self._store, self.uri, run_id)

    def _send(self, record: Record, folder: Path) -> None:
        name, tags = runs.name_of(record), runs.tags_of(record, id_of(folder), self.parent_run)
        start_ms = runs.start_ms(record)
        run = self._store.client.create_run(self._store.experiment_id, start_time=start_ms, tags=tags, run_name=name)
        self._fill(run, record, folder)

    def _fill(self, run: Any, record: Record, folder: Path) -> None:
        """Send what belongs into a run and end it; what it already has is sent again without being doubled."""
        from mlflow.entities import Param

        client, files, run_id = self._store.client, self._store.files_of(run), run.info.run_id
        start_ms = runs.start_ms(record)
        params = [Param(name, str(value)) for name, value in record.parameters.items()]
        client.log_batch(run_id, runs.metrics_of(record.metrics, start_ms), params)
        files.log_artifact(str(folder / FILE_NAME))
        with tempfile.TemporaryDirectory() as made:
            config = Path(made) / "config.yaml"
            config.write_text(yaml.dump(record.config, Dumper=yaml.CSafeDumper), encoding="utf-8")
            files.log_artifact(str(config))
        if (folder / ANALYSIS_FOLDER).is_dir():
            files.log_artifacts(str(folder / ANALYSIS_FOLDER), ANALYSIS_FOLDER)
        status, end_ms = runs.STATUSES.get(record.status, "FINISHED"), start_ms + round(1000 * record.duration_s)
        client.set_terminated(run_id, status, end_time=end_ms)

    def _close(self, run: Any) -> None:
        """End a run that its process left open; a point's run is marked as incomplete."""
        if run.data.tags.get("segbench.kind") == "point":
            self._store.client.set_tag(run.info.run_id, runs.INCOMPLETE_TAG, "true")
        self._store.client.set_terminated(run.info.run_id, "KILLED")


def _explanation(tracker: MlflowTracker, error: BaseException) -> str:
    """One sentence for what MLflow raised, by the first of the errors that led to it."""
    while source := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = source
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, TimeoutError):
        reason = f"no answer within {tracker.timeout_s:g} s"
    store = tracker._store
    what, advice = ("store", "move it away") if store.is_file else ("server", "start it or wait for it")
    named = f"tracker.uri={tracker.uri}" if tracker.uri else f"{VARIABLE}={shown(store.address)}"
    return f"the MLflow {what} {named} cannot be used ({reason}): {advice}, name another one, or use tracker=none"
