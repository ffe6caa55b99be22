"""The records of a sweep side by side: what was swept, every figure at full precision, and the best of each."""

from collections.abc import Sequence

import pandas as pd

from segbench.config.overrides import key_of, readable, value_of
from segbench.point.record import STATUSES, Record

HEADLINE = ("latency_ms/median", "ratio_to_baseline/median", "parameters/deploy", "memory_bytes/peak_activation")


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
