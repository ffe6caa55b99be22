"""Statistics of raw latency samples: medians with intervals that respect correlation, and what papers print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval, in the unit of the samples."""

    low: float
    high: float


def median_interval(samples: Sequence[float] | NDArray[np.float64], level: float = 0.95) -> Interval:
    """Confidence interval of the median of a correlated series, in its order.

    The interval lies between two order statistics. Their distance from the middle follows from the variance
    of the share of samples below the median, estimated by overlapping batch means of length sqrt(n), so that
    neighbouring samples may be correlated; Student's t accounts for the number of batches.
    Raises `ValueError` for fewer than 2 samples.
    """
    values = np.asarray(samples, dtype=np.float64)
    if values.size < 2:
        raise ValueError(f"an interval needs at least 2 samples, got {values.size}")
    below = (values <= np.median(values)).astype(np.float64)
    batch = max(1, math.isqrt(values.size))
    freedom = max(1.0, 1.5 * (values.size / batch - 1))
    margin = float(special.stdtrit(freedom, 0.5 + level / 2)) * math.sqrt(_variance_of_mean(below, batch))
    return Interval(*(float(q) for q in np.quantile(values, [max(0.0, 0.5 - margin), min(1.0, 0.5 + margin)])))


def _variance_of_mean(values: NDArray[np.float64], batch: int) -> float:
    """Variance of the mean of a correlated series, by overlapping batch means."""
    n = values.size
    sums = np.cumsum(np.concatenate([[0.0], values]))
    means = (sums[batch:] - sums[:-batch]) / batch
    squares = float(np.square(means - values.mean()).sum())
    overlapping = batch * squares / ((n - batch) * (n - batch + 1)) if n > batch else 0.25 / n
    independent = float(values.var()) / n
    return max(overlapping, independent)


def summary(samples_ms: Sequence[float], batch_size: int) -> dict[str, float]:
    """Metrics of a latency series in milliseconds, by their names in the record."""
    values = np.asarray(samples_ms, dtype=np.float64)
    interval = median_interval(values)
    median = float(np.median(values))
    percentiles = np.percentile(values, [5, 25, 75, 95, 99])
    p5, p25, p75, p95, p99 = (float(p) for p in percentiles)
    return {
        "latency_ms/median": median,
        "latency_ms/ci95_low": interval.low,
        "latency_ms/ci95_high": interval.high,
        "latency_ms/mean": float(values.mean()),
        "latency_ms/std": float(values.std(ddof=1)),
        "latency_ms/min": float(values.min()),
        "latency_ms/p5": p5,
        "latency_ms/p25": p25,
        "latency_ms/p75": p75,
        "latency_ms/p95": p95,
        "latency_ms/p99": p99,
        "latency_ms/iqr": p75 - p25,
        "latency_ms/n": float(values.size),
        "throughput_img_s": batch_size * 1000.0 / median,
    }
