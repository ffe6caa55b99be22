"""The records of a sweep side by side: what was typed and swept, every figure at full precision, the best of each."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from segbench.config.keys import Role
from segbench.config.overrides import key_of, readable, value_of, without
from segbench.point.record import STATUSES, Record

SWEEP_FILE, STATE_FILE = "multirun.yaml", "sweep.json"
SWEEPS_ALONE = ("study", "family")
"""Keys that sweep without `-m`."""
HEADLINE = ("latency_ms/median", "ratio_to_baseline/median", "parameters/deploy", "memory_bytes/peak_activation")


def overrides_of(folder: Path) -> list[str]:
    """What was typed, but where it ran and was sent to; empty where the sweep's file is missing or is none."""
    try:
        found: Any = yaml.safe_load((folder / SWEEP_FILE).read_text(encoding="utf-8"))
        typed = [*found["hydra"]["overrides"]["hydra"], *found["hydra"]["overrides"]["task"]]
        return without(readable(typed), Role.LOCAL)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return []


def command_of(folder: Path) -> str:
    """The command line that repeats the sweep; empty where its folder does not tell."""
    typed = overrides_of(folder)
    multirun = [] if any(key_of(override) in SWEEPS_ALONE for override in typed) else ["-m"]
    return shlex.join(["python", "run.py", *multirun, *typed]) if typed else ""


def axes_of(folders: Sequence[Path]) -> list[str] | None:
    """The axes that a single sweep wrote down; `None` of several together, and of one that wrote down none."""
    try:
        (folder,) = folders
        axes = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["axes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return axes if isinstance(axes, list) and axes and all(isinstance(axis, str) for axis in axes) else None


def comparison(records: Sequence[tuple[str, Record]]) -> pd.DataFrame:
    """One row for each (point name, record): point, status, reason, parameters, metrics."""
    rows = [
        {"point": name, "status": found.status, "reason": found.reason, **found.parameters, **found.metrics}
        | found.verdicts
        for name, found in records
    ]
    return pd.DataFrame(rows)


def swept_keys(records: Sequence[Record], axes: Sequence[str] | None = None) -> list[str]:
    """The parameters that a sweep varied: those of its `axes`, else of overrides that differ between its records."""
    if axes is not None:
        names = dict.fromkeys(name for key in axes for name in _parameters_of(key, records))
        return [name for name in names if _varies(name, records)]
    values: dict[str, set[str]] = {}
    for record in records:
        typed = {key_of(override): str(value_of(override)) for override in readable(record.overrides)}
        for key, value in typed.items():
            values.setdefault(key, set()).add(value)
    keys = [key for key, found in values.items() if len(found) > 1]
    return list(dict.fromkeys(name for key in keys for name in _parameters_of(key, records)))


def _parameters_of(key: str, records: Sequence[Record]) -> list[str]:
    """The parameter that a swept key sets; those below it where it is a mapping (`model.kwargs`)."""
    if any(key in record.parameters for record in records):
        return [key]
    below = dict.fromkeys(name for r in records for name in r.parameters if name.startswith(f"{key}."))
    return [name for name in below if _varies(name, records)] or [key]


def _varies(name: str, records: Sequence[Record]) -> bool:
    return len({str(record.parameters.get(name)) for record in records}) > 1


def headline(records: Sequence[Record]) -> dict[str, float]:
    """What a sweep's own run shows: how many points ended how, and the best of the main quantities."""
    figures: dict[str, float] = {f"points/{status}": 0.0 for status in STATUSES}
    for record in records:
        figures[f"points/{record.status}"] += 1
    for metric in HEADLINE:
        values = [record.metrics[metric] for record in records if record.status == "ok" and metric in record.metrics]
        if values:
            figures[f"best/{metric}"] = min(values)
    return figures
