"""What lands in an MLflow store of sweeps and points, how half of it is completed, and where it is seen."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from segbench.base.processes import this_process
from segbench.point.record import FILE_NAME, Record, save
from segbench.sweep.sync import send_folder, send_missing
from segbench.tracking import runs
from segbench.tracking.none import NoTracker
from segbench.tracking.store import settings
from segbench.tracking.tracker import UNREACHABLE, MlflowTracker, TrackerError

RECORD = Record(
    status="ok",
    reason=None,
    overrides=["study=some", "block=dw", "channels=8", "tracker.timeout_s=3"],
    parameters={"block": "dw", "channels": 8},
    config={"block": {"kernel_size": 7}, "text": "ä: 'b'", "none": None},
    environment={"commit": "abc", "host": "here", "cpu": "some cpu"},
    metrics={"latency_ms/median": 1.5, "parameters/deploy": 528.0},
    verdicts={"steady": True},
    started="2026-01-01T00:00:00.250+00:00",
    duration_s=2.5,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store; MLflow takes seconds to create its tables."""
    folder = tmp_path_factory.mktemp("store")
    tracker_in(folder).prepare()
    return folder


@pytest.fixture(autouse=True)
def working_folder(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store)  # for mlruns/


def tracker_in(folder: Path, parent_run: str | None = None) -> MlflowTracker:
    return MlflowTracker(f"sqlite:///{folder}/mlflow.db", "segbench", timeout_s=30, parent_run=parent_run)


@pytest.fixture
def tracker(store: Path, tmp_path: Path) -> MlflowTracker:
    """The tracker of a sweep with a run of its own."""
    made = tracker_in(store)
    made.parent_run = made.start_sweep("a sweep", ["block=dw,stm"], sweep_id=tmp_path.name)
    return made


@pytest.fixture
def client(store: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{store}/mlflow.db")


def point(folder: Path, record: Record = RECORD) -> tuple[Record, Path]:
    """A record in a point's folder; its run's place makes it another one than those of other tests."""
    record = replace(record, overrides=[*record.overrides, f"folder={folder}"])
    folder.mkdir(parents=True, exist_ok=True)
    save(record, folder)
    return record, folder


def children(client: MlflowClient, tracker: MlflowTracker) -> list[Run]:
    experiment = client.get_experiment_by_name("segbench")
    return list(client.search_runs([experiment.experiment_id], f"tags.mlflow.parentRunId = '{tracker.parent_run}'"))


def test_a_point_arrives_whole(tracker: MlflowTracker, client: MlflowClient, tmp_path: Path) -> None:
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "kinds.csv").write_text("kind\n")
    record, folder = point(tmp_path)
    assert tracker.log_point(record, folder)
    (run,) = children(client, tracker)
    assert (run.info.status, run.info.run_name) == ("FINISHED", f"block=dw channels=8 folder={folder}")
    assert (run.info.start_time, run.info.end_time) == (1767225600250, 1767225602750)
    assert run.data.params == {"block": "dw", "channels": "8"}
    assert run.data.metrics == RECORD.metrics
    expected = {
        "segbench.kind": "point",
        "segbench.status": "ok",
        "segbench.commit": "abc",
        "segbench.machine": "here",
        "segbench.cpu": "some cpu",
        "segbench.steady": "true",
        "segbench.overrides": " ".join(record.overrides),
        "mlflow.source.git.commit": "abc",
        "mlflow.source.name": "segbench",
        "mlflow.parentRunId": tracker.parent_run,
    }
    assert expected.items() <= run.data.tags.items()
    assert json.loads(run.data.tags["segbench.owner"]) == this_process()
    files = Path(run.info.artifact_uri)
    assert (files / FILE_NAME).read_bytes() == (folder / FILE_NAME).read_bytes()
    assert yaml.safe_load((files / "config.yaml").read_text(encoding="utf-8")) == RECORD.config
    assert (files / "analysis" / "kinds.csv").read_text() == "kind\n"


@pytest.mark.parametrize(
    ("status", "expected"),
    [("failed", "FAILED"), ("timeout", "FAILED"), ("killed", "KILLED"), ("unsupported", "FINISHED")],
)
def test_a_point_says_why_it_did_not_end_well(
    tracker: MlflowTracker, client: MlflowClient, tmp_path: Path, status: str, expected: str
) -> None:
    tracker.log_point(*point(tmp_path, replace(RECORD, status=status, reason="the reason", metrics={})))
    (run,) = children(client, tracker)
    assert run.info.status == expected
    assert run.data.tags["segbench.reason"] == run.data.tags["mlflow.note.content"] == "the reason"


def test_a_sweep_ends_with_its_table_its_files_and_its_figures(
    tracker: MlflowTracker, client: MlflowClient, tmp_path: Path
) -> None:
    (tmp_path / "comparison.csv").write_text("a\n")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("page")
    files = [tmp_path / "comparison.csv", tmp_path / "report", tmp_path / "not there"]
    tracker.finish_sweep(str(tracker.parent_run), files, "| a |", {"points/ok": 2.0, "points/failed": 1.0})
    run = client.get_run(str(tracker.parent_run))
    assert (run.info.status, run.data.tags["mlflow.note.content"]) == ("FAILED", "| a |")
    assert run.data.metrics == {"points/ok": 2.0, "points/failed": 1.0}
    found = {path.name for path in Path(run.info.artifact_uri).rglob("*") if path.is_file()}
    assert found == {"comparison.csv", "report.html"}
    again = tracker.start_sweep("a sweep", [], sweep_id=tmp_path.name)
    assert again == tracker.parent_run and client.get_run(again).info.status == "RUNNING"
    tracker.finish_sweep(again, [], "", {})
    assert client.get_run(again).info.status == "FINISHED"


def test_what_was_sent_in_part_is_completed_and_not_doubled(
    tracker: MlflowTracker, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [point(tmp_path / name)[1] for name in ("whole", "doubled", "half", "missing")]
    whole, doubled, half = folders[:3]
    for folder in (whole, doubled, doubled):
        tracker.log_point(*point(folder))
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "set_terminated", lambda *_, **__: 1 / 0)
        with pytest.raises(TrackerError, match="division by zero"):
            tracker.log_point(*point(half))
    tracker.prepare()
    assert sorted(run.info.status for run in children(client, tracker)) == ["FINISHED"] * 3 + ["RUNNING"]
    assert tracker.reconcile(folders, str(tracker.parent_run)) == folders[2:]
    seen: list[None] = []
    assert send_missing(tracker, folders, tracker.parent_run, lambda: seen.append(None)) == len(seen) == 2
    assert send_missing(tracker, folders, tracker.parent_run) == 0
    assert not tracker.complete_point(*point(doubled))
    sent = children(client, tracker)
    assert len(sent) == 4 and {run.info.status for run in sent} == {"FINISHED"}
    assert all(run.data.metrics == RECORD.metrics for run in sent)


def test_what_a_killed_process_left_is_closed_and_then_completed(
    tracker: MlflowTracker, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, folder = point(tmp_path)
    with monkeypatch.context() as killed:
        killed.setattr(runs, "owner", lambda: json.dumps({**this_process(), "pid": 0, "created": 1.0}))
        killed.setattr(MlflowClient, "set_terminated", lambda *_, **__: 1 / 0)
        with pytest.raises(TrackerError):
            tracker.log_point(record, folder)
    tracker.prepare()
    (run,) = children(client, tracker)
    assert run.info.status == "KILLED" and runs.INCOMPLETE_TAG in run.data.tags
    assert client.get_run(str(tracker.parent_run)).info.status == "RUNNING"
    assert tracker.complete_point(record, folder)
    (run,) = children(client, tracker)
    assert run.info.status == "FINISHED" and runs.INCOMPLETE_TAG not in run.data.tags


def test_a_killed_sweep_closes_the_runs_of_its_points(
    tracker: MlflowTracker, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(MlflowClient, "log_batch", lambda *_, **__: 1 / 0)
        with pytest.raises(TrackerError):
            tracker.log_point(*point(tmp_path))
    tracker.finish_sweep(str(tracker.parent_run), [], "", {}, killed=True)
    (run,) = children(client, tracker)
    assert run.info.status == client.get_run(str(tracker.parent_run)).info.status == "KILLED"
    assert runs.INCOMPLETE_TAG in run.data.tags


def test_replaced_records_are_marked_and_those_of_killed_points_go(
    tracker: MlflowTracker, client: MlflowClient, tmp_path: Path
) -> None:
    tracker.log_point(*point(tmp_path / "0"))
    tracker.log_point(*point(tmp_path / "1", replace(RECORD, status="killed", reason="killed")))
    later = [point(tmp_path / name, replace(RECORD, duration_s=3.0))[1] for name in ("0", "1")]
    assert send_missing(tracker, later, tracker.parent_run) == 2
    marks = [runs.SUPERSEDED_TAG in run.data.tags for run in children(client, tracker)]
    assert sorted(marks) == [False, False, True]


def test_after_a_failure_later_points_do_not_wait(
    store: Path, tracker: MlflowTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "create_run", lambda *_, **__: 1 / 0)
        with pytest.raises(TrackerError, match=rf"tracker.uri=sqlite:///{store}/mlflow.db cannot be used"):
            tracker.log_point(*point(tmp_path))
    assert not tracker_in(store, "the same process").log_point(*point(tmp_path))
    assert tracker.where(None) == []
    tracker.prepare()
    assert tracker.log_point(*point(tmp_path))
    assert not tracker_in(store, UNREACHABLE).log_point(*point(tmp_path))


def test_a_store_that_was_killed_while_it_was_made_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / ".mlflow.db.new").write_text("half of it")
    tracker_in(tmp_path).prepare()
    assert {path.name for path in tmp_path.iterdir()} - {".mlflow.db.lock"} == {"mlflow.db"}
    assert MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_experiment_by_name("segbench") is not None


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("something else, and long enough for SQLite to see that")
    with pytest.raises(TrackerError, match=r"mlflow\.db cannot be used \(file is not a database\): move it away"):
        tracker_in(tmp_path).prepare()


def test_pages(tracker: MlflowTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV", raising=False)
    command, page = tracker.where(str(tracker.parent_run))
    assert command.startswith("mlflow ui  ") and page.endswith(f"/runs/{tracker.parent_run}")
    for name in "01":
        tracker.log_point(*point(tmp_path / name))
    assert tracker.where(str(tracker.parent_run))[1].startswith("http://127.0.0.1:5000/#/compare-runs?runs=%5B%22")
    assert tracker.where(None)[1].endswith("/runs")


def test_a_description_has_as_many_rows_as_fit() -> None:
    assert runs.note("a\nb") == "a\nb"
    long = runs.note("\n".join(["x" * 99] * 60))
    assert (
        len(long) <= runs.LONGEST_NOTE
        and long.count("x" * 99) == 49
        and long.endswith("11 more rows in comparison.csv")
    )


def test_names() -> None:
    assert runs.name_of(RECORD) == "block=dw channels=8"
    assert runs.name_of(replace(RECORD, overrides=["study=some", "quick=true"])) == "defaults"


def test_a_sweep_that_is_sent_later_has_the_table_of_its_axes(
    store: Path, client: MlflowClient, tmp_path: Path
) -> None:
    (tmp_path / "sweep.json").write_text(json.dumps({"id": tmp_path.name, "command": [], "axes": ["channels"]}))
    for name, values in {"0": {"channels": 8, "seed": 1}, "1": {"channels": 16, "seed": 2}}.items():
        typed = [f"{key}={value}" for key, value in values.items()]
        point(tmp_path / name, replace(RECORD, overrides=typed, parameters=values))
    assert send_folder(tracker_in(store), tmp_path) == (2, 2, [])
    experiment = client.get_experiment_by_name("segbench")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.segbench.sweep = '{tmp_path.name}'")
    assert run.data.tags["mlflow.note.content"].startswith("| channels | params"), "seed is no axis"


def test_limits_follow_timeout_s() -> None:
    found = settings(30)
    assert found["MLFLOW_HTTP_REQUEST_TIMEOUT"] == found["PGCONNECT_TIMEOUT"] == "15"
    assert found["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1" and found["PGOPTIONS"] == "-c statement_timeout=30000"
    assert settings(0.5)["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "1" and settings(0.5)["PGOPTIONS"].endswith("=500")


def test_the_users_limits_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in settings(30):
        monkeypatch.setenv(name, "7" if name == "PGCONNECT_TIMEOUT" else "")
        if name != "PGCONNECT_TIMEOUT":
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    _ = tracker_in(tmp_path)._store.client
    assert os.environ["PGCONNECT_TIMEOUT"] == "7" and os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "15"


def test_none_takes_every_call(tmp_path: Path) -> None:
    tracker = NoTracker()
    tracker.prepare()
    tracker.start_sweep("name", [], "id")
    assert tracker.log_point(*point(tmp_path)) and tracker.where(None) == []
