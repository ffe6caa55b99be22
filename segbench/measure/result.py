"""What was found: metrics by their names in the record, raw series, verdicts on them, and tables."""

from dataclasses import dataclass, field
from typing import Any, Self

Row = dict[str, Any]
Metrics = dict[str, float]
Samples = dict[str, list[float]]
BASELINE = "baseline_"
"""Prefix of the baseline's series in the samples."""


@dataclass
class Result:
    """What is known so far: of one quantity where a measurement gives it, of a point where they are joined.

    `samples` are in milliseconds, beside the labels `batch` and `process`. `tables` are rows by the names of their
    files in a point's analysis.
    """

    metrics: Metrics = field(default_factory=dict)
    samples: Samples = field(default_factory=dict)
    verdicts: dict[str, bool] = field(default_factory=dict)
    tables: dict[str, list[Row]] = field(default_factory=dict)

    def __ior__(self, other: "Result") -> Self:
        self.metrics |= other.metrics
        self.samples |= other.samples
        self.verdicts |= other.verdicts
        self.tables |= other.tables
        return self
