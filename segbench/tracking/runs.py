"""The runs of sweeps and points in MLflow: their names, their tags, and how they are found again."""

import getpass
import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from segbench.base.processes import is_gone, this_process
from segbench.point.record import Record

SWEEP_TAG, RECORD_TAG = "segbench.sweep", "segbench.record"
"""Ids of a sweep and of a point's record: by them what was sent is found again."""
OWNER_TAG, INCOMPLETE_TAG = "segbench.owner", "segbench.incomplete"
"""The process that will end a run, and the mark of a run that nobody ended."""
SUPERSEDED_TAG = "segbench.superseded"
"""The mark of a run whose record was replaced by that of a later measurement."""
PARENT_TAG, NOTE_TAG = "mlflow.parentRunId", "mlflow.note.content"
STATUSES = {"failed": "FAILED", "timeout": "FAILED", "killed": "KILLED"}
"""MLflow's word for how a point ended, where it is not FINISHED."""
LONGEST_NOTE = 5000
"""Characters that MLflow keeps of a description."""


def name_of(record: Record) -> str:
    """What was asked for, without what all points of a study have in common."""
    return " ".join(o for o in record.overrides if not o.startswith(("study=", "quick=", "tracker"))) or "defaults"


def tags_of(record: Record, record_id: str, parent_run: str | None) -> dict[str, str]:
    """The tags of a point's run."""
    tags = {
        **_common("point", record.overrides),
        RECORD_TAG: record_id,
        "segbench.status": record.status,
        "segbench.commit": str(record.environment.get("commit")),
        "segbench.machine": str(record.environment.get("host")),
        "segbench.cpu": str(record.environment.get("cpu")),
    }
    tags |= {f"segbench.{name}": str(verdict).lower() for name, verdict in record.verdicts.items()}
    if commit := record.environment.get("commit"):
        tags["mlflow.source.git.commit"] = commit
    if record.reason:
        tags["segbench.reason"] = tags[NOTE_TAG] = record.reason
    if parent_run:
        tags[PARENT_TAG] = parent_run
    return tags


def sweep_tags(sweep_id: str, overrides: Sequence[str]) -> dict[str, str]:
    """The tags of a sweep's run."""
    return {**_common("sweep", overrides), SWEEP_TAG: sweep_id}


def _common(kind: str, overrides: Sequence[str]) -> dict[str, str]:
    return {
        "segbench.kind": kind,
        "segbench.overrides": " ".join(overrides),
        OWNER_TAG: owner(),
        "mlflow.source.name": "segbench",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": getpass.getuser(),
    }


def owner() -> str:
    """This process, for a run's tag."""
    return json.dumps(this_process())


def is_left_behind(run: Any) -> bool:
    """Whether the process that should end a run has ended itself."""
    try:
        return is_gone(json.loads(run.data.tags[OWNER_TAG]))
    except (KeyError, ValueError, TypeError):  # not a run of ours, or of an older version
        return False


def is_whole(run: Any) -> bool:
    """Whether everything of a point was sent into its run."""
    return run.info.status != "RUNNING" and INCOMPLETE_TAG not in run.data.tags


def metrics_of(values: Mapping[str, float], time_ms: int | None = None) -> list[Any]:
    """Figures as MLflow takes them, of a time or of now."""
    from mlflow.entities import Metric

    time_ms = time_ms or round(1000 * time.time())
    return [Metric(name, value, time_ms, 0) for name, value in values.items()]


def start_ms(record: Record) -> int:
    """When a point began, in MLflow's milliseconds."""
    return round(1000 * datetime.fromisoformat(record.started).timestamp())


def note(table: str) -> str:
    """The first rows of a Markdown table that fit into a run's description."""
    lines = table.splitlines()
    while len(text := "\n".join(lines)) > LONGEST_NOTE - 100:
        lines = lines[:-1]
    missing = len(table.splitlines()) - len(lines)
    return text + (f"\n\n{missing} more rows in comparison.csv" if missing else "")
