"""Statistics of raw latency samples: medians with intervals that respect correlation, and what papers print."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

FEWEST_SAMPLES = 6
TRIMMED = 0.2
"""Share of the batches left out at either end of a ratio's estimate."""
UNDISTURBED = 0.1
"""Quantile of a batch that stands for its undisturbed latency: what disturbs a call only ever adds to it."""
FEWEST_PROCESSES = 3
FEWEST_FOR_DRIFT = 3 * FEWEST_SAMPLES
DRIFT_LEVEL = 0.95
"""Of the thirds' intervals, which must not overlap: two that do not are rarer than 1 in 100 by chance."""
DRIFT_SHARE = 0.02


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval, in the unit of the samples, and the estimate that it belongs to."""

    low: float
    middle: float
    high: float

    @property
    def width_percent(self) -> float:
        """Width over the middle, in percent."""
        return 100 * (self.high - self.low) / self.middle

    @property
    def distinguishable(self) -> bool:
        """Whether the interval of a ratio leaves 1 out."""
        return not self.low <= 1 <= self.high


def median_interval(samples: Sequence[float] | NDArray[np.float64], level: float = 0.95) -> Interval:
    """Confidence interval of the median of a correlated series, in its order.

    The interval lies between two order statistics. Their distance from the middle follows from the variance
    of the share of samples below the median, estimated by overlapping batch means of length n^(2/3), so that
    neighbouring samples may be correlated; Student's t accounts for the number of batches.
    Raises `ValueError` for fewer than 6 samples: not even smallest to largest would cover 95% of medians.
    """
    values = np.asarray(samples, dtype=np.float64)
    if values.size < FEWEST_SAMPLES:
        raise ValueError(f"an interval needs at least {FEWEST_SAMPLES} samples, got {values.size}")
    middle = float(np.median(values))
    below = (values <= middle).astype(np.float64)
    batch = round(values.size ** (2 / 3))
    freedom = max(1.0, 1.5 * (values.size / batch - 1))
    margin = float(special.stdtrit(freedom, 0.5 + level / 2)) * math.sqrt(_variance_of_mean(below, batch))
    low, high = np.quantile(values, [max(0.0, 0.5 - margin), min(1.0, 0.5 + margin)])
    return Interval(float(low), middle, float(high))


def ratio_interval(
    point: Sequence[float], baseline: Sequence[float], batches: Sequence[int], level: float = 0.95
) -> Interval:
    """Ratio of the latencies of series that were timed side by side, and its confidence interval.

    Each batch gives one value, the logarithm of the ratio of the two undisturbed latencies, the 10th percentiles of
    the batch. The estimate is their 20% trimmed mean, the interval Student's t with the winsorised variance (Tukey and
    McLaughlin 1963), so that a few disturbed batches do no harm. With fewer than 6 batches it is the median of the
    pairs' ratios, with its interval. Raises `ValueError` for fewer than 6 pairs.
    """
    one, other = np.asarray(point, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    groups = np.asarray(batches)
    labels = np.unique(groups)
    if labels.size < FEWEST_SAMPLES:
        return median_interval(one / other, level)
    values = np.sort([math.log(undisturbed_ms(one[groups == k]) / undisturbed_ms(other[groups == k])) for k in labels])
    n = values.size
    cut = int(TRIMMED * n)
    kept = n - 2 * cut
    middle = float(values[cut : n - cut].mean())
    winsorised = np.clip(values, values[cut], values[n - cut - 1])
    deviation = math.sqrt(float(winsorised.var(ddof=1)) * (n - 1) / (kept * (kept - 1)))
    margin = float(special.stdtrit(kept - 1, 0.5 + level / 2)) * deviation
    return Interval(math.exp(middle - margin), math.exp(middle), math.exp(middle + margin))


def over_processes(values: Sequence[float], level: float = 0.95) -> Interval:
    """Geometric mean of what fresh processes gave, one positive value each, and its interval (Student's t).

    Processes differ in more than the calls within one show: addresses, page colours, thread placement. The spread
    between them holds the spread within them. Raises `ValueError` for fewer than 3 processes.
    """
    logs = np.log(np.asarray(values, dtype=np.float64))
    if logs.size < FEWEST_PROCESSES:
        raise ValueError(f"an interval over processes needs at least {FEWEST_PROCESSES}, got {logs.size}")
    middle = float(logs.mean())
    margin = float(special.stdtrit(logs.size - 1, 0.5 + level / 2)) * float(logs.std(ddof=1)) / math.sqrt(logs.size)
    return Interval(math.exp(middle - margin), math.exp(middle), math.exp(middle + margin))


def undisturbed_ms(latencies_ms: Sequence[float] | NDArray[np.float64]) -> float:
    """The 10th percentile, in the unit of the samples: what disturbs a call only ever adds to it."""
    return float(np.quantile(latencies_ms, UNDISTURBED))


def drifts(samples: Sequence[float]) -> bool:
    """Whether the last third of a series lies elsewhere than the first: apart by more than chance and by 2%."""
    values = np.asarray(samples, dtype=np.float64)
    third = values.size // 3
    if third < FEWEST_SAMPLES:
        return False
    first, last = (median_interval(part, DRIFT_LEVEL) for part in (values[:third], values[-third:]))
    return abs(last.middle / first.middle - 1) > DRIFT_SHARE and (first.high < last.low or last.high < first.low)


def _variance_of_mean(values: NDArray[np.float64], batch: int) -> float:
    """Variance of the mean of a correlated series, by overlapping batch means."""
    n = values.size
    sums = np.cumsum(np.concatenate([[0.0], values]))
    means = (sums[batch:] - sums[:-batch]) / batch
    squares = float(np.square(means - values.mean()).sum())
    overlapping = batch * squares / ((n - batch) * (n - batch + 1)) if n > batch else 0.0
    independent = float(values.var()) / n
    return max(overlapping, independent)


def summary(name: str, samples_ms: Sequence[float]) -> dict[str, float]:
    """Metrics of a latency series in milliseconds, by their names in the record: `name`/median and so on."""
    values = np.asarray(samples_ms, dtype=np.float64)
    interval = median_interval(values)
    found = {"median": interval.middle, "ci95_low": interval.low, "ci95_high": interval.high}
    found |= {"mean": float(values.mean()), "std": float(values.std(ddof=1)), "min": float(values.min())}
    found |= {f"p{share}": float(np.percentile(values, share)) for share in (5, 25, 75, 95, 99)}
    found |= {"iqr": found["p75"] - found["p25"], "n": float(values.size)}
    return {f"{name}/{statistic}": value for statistic, value in found.items()}
