"""One point, one record: what was asked, what ran, how it ended and what was measured."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segbench.base.errors import NotAllowedError
from segbench.base.files import write_json

SCHEMA_VERSION = 1
FILE_NAME = "record.json"
ANALYSIS_FOLDER = "analysis"
"""Tables and plots of a point, beside its record."""
TABLE = "comparison.csv"
"""Every parameter and metric of a sweep's points, in its folder."""
REPORT_FOLDER, REPORT_PAGE = "report", "report.html"
"""A study's report, in the folder of its sweep."""
FIELD_TYPES = {
    "overrides": list,
    "parameters": dict,
    "config": dict,
    "environment": dict,
    "metrics": dict,
    "samples": dict,
    "verdicts": dict,
    "identity": dict,
    "started": str,
}
STATUSES = ("ok", "failed", "unsupported", "timeout", "killed")


@dataclass(frozen=True)
class Record:
    """Immutable result of one point.

    `overrides` is what the user typed, `config` the whole configuration with every value resolved,
    `parameters` the choices that this point used, by short names. `metrics` derive from `samples`, the raw
    series in milliseconds, and `verdicts` say how far they can be trusted. `reason` says in one sentence why
    a point did not end `ok`, and `identity` holds the hashes of what determined its result. `killed` is written by a
    later run, for a point that had begun and left no record.
    """

    status: str
    reason: str | None
    overrides: list[str]
    parameters: dict[str, Any]
    config: dict[str, Any]
    environment: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    verdicts: dict[str, bool] = field(default_factory=dict)
    started: str = ""
    duration_s: float = 0.0
    identity: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for name, kind in FIELD_TYPES.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} is a {type(getattr(self, name)).__name__}, not a {kind.__name__}")
        if self.status not in STATUSES:
            raise NotAllowedError("status", self.status, f"choose one of {', '.join(STATUSES)}")
        if (self.status == "ok") != (self.reason is None):
            raise ValueError(f"status={self.status} with reason={self.reason}: every status but ok needs a reason")
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(f"schema_version={self.schema_version} is not readable: this is {SCHEMA_VERSION}")
        infinite = [name for name, value in self.metrics.items() if not math.isfinite(value)]
        if infinite:
            raise ValueError(f"metrics must be finite numbers, but {', '.join(infinite)} are not")


def disturbed(record: Record) -> bool:
    """Whether the point's latency was not steady, or others used the processor meanwhile."""
    return not record.verdicts.get("steady", True) or record.verdicts.get("contended", False)


def save(record: Record, folder: Path) -> Path:
    """Write `record` as `record.json` in `folder` and return the file's path."""
    path = folder / FILE_NAME
    write_json(asdict(record), path)
    return path


def id_of(folder: Path) -> str:
    """The id of the record in a point's folder: the same for the same content, wherever it is copied."""
    return hashlib.sha256((folder / FILE_NAME).read_bytes()).hexdigest()


def load(path: Path) -> Record:
    """Read a record; `ValueError` names the file where it is not whole or of another version."""
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is not a whole record of this version: {error}") from error


def order_of(name: str) -> tuple[int, str]:
    """Where a point's folder comes in its sweep: by number, and folders of other names before."""
    return (int(name), "") if name.isascii() and name.isdigit() else (-1, name)


def load_sweep(folder: Path) -> tuple[list[tuple[str, Record]], list[str]]:
    """The records below a sweep's folder by their points' names, in order, and why others cannot be read."""

    records: list[tuple[str, Record]] = []
    broken: list[str] = []
    for path in sorted(folder.glob(f"*/{FILE_NAME}"), key=lambda path: order_of(path.parent.name)):
        try:
            records.append((path.parent.name, load(path)))
        except (OSError, ValueError) as error:
            broken.append(str(error))
    return records, broken
