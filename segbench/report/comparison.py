"""Records side by side: one row a point, every parameter and metric at full precision."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from segbench.record import STATUSES, Record


def comparison(records: Sequence[tuple[str, Record]]) -> pd.DataFrame:
    """One row for each (point name, record): point, status, reason, parameters, metrics."""
    rows = [
        {"point": name, "status": record.status, "reason": record.reason, **record.parameters, **record.metrics}
        for name, record in records
    ]
    return pd.DataFrame(rows)


def swept_keys(records: Sequence[Record]) -> list[str]:
    """The keys whose overrides differ between the records, in the order in which they were typed."""
    values: dict[str, set[str]] = {}
    for record in records:
        typed = dict(override.lstrip("+").partition("=")[::2] for override in record.overrides)
        for key, value in typed.items():
            values.setdefault(key, set()).add(value)
    return [key for key, found in values.items() if len(found) > 1]


def headline(records: Sequence[Record]) -> dict[str, float]:
    """What a sweep's own run shows: how many points ended how, and the best of the main quantities."""
    figures: dict[str, float] = {f"points/{status}": 0.0 for status in STATUSES}
    for record in records:
        figures[f"points/{record.status}"] += 1
    for metric in ("latency_ms/median", "parameters/deploy", "memory_bytes/peak_activation"):
        values = [record.metrics[metric] for record in records if record.status == "ok" and metric in record.metrics]
        if values:
            figures[f"best/{metric}"] = min(values)
    return figures
