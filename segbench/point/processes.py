"""Statistics of a point's raw series, and how the results of several processes become one."""

import statistics
from collections.abc import Sequence

from segbench.measure.result import BASELINE, Result, Samples
from segbench.measure.statistics import Interval, over_processes, ratio_interval, summary

RATIO = "ratio_to_baseline"
LABELS = ("batch", "process")
"""Series that say where the samples beside them belong."""
RATES = {
    "throughput_img_s_per_mparam",
    "throughput_equivalent_img_s",
    "roofline/attained_gflop_s",
    "roofline/attained_gb_s",
    "roofline/share",
}
"""Metrics that are inversely proportional to the median latency."""


def summarise(result: Result, batch_size: int) -> None:
    """Derive the statistics from the raw series."""
    metrics, samples = result.metrics, result.samples
    for name in _series(result):
        metrics |= summary(name, samples[name])
    metrics["throughput_img_s"] = 1000 * batch_size / metrics["latency_ms/median"]
    if BASELINE + "latency_ms" in samples:
        batches = [int(batch) for batch in samples["batch"]]
        _set_interval(result, RATIO, ratio_interval(samples["latency_ms"], samples[BASELINE + "latency_ms"], batches))


def combine(parts: Sequence[Result], batch_size: int, target_percent: float | None) -> Result:
    """The results of several processes as one.

    Counts, memory and tables are the first's. Series are joined, with the process of every sample beside them. Medians
    and the ratio are the geometric means of the processes' own, with the interval over processes; evidence is averaged,
    and the verdicts are those of the worst. Raises `ValueError` for fewer than 3.
    """
    first = parts[0]
    whole = Result(dict(first.metrics), _joined(parts), tables=first.tables)
    for name in set.intersection(*(set(part.metrics) for part in parts)):
        if name.startswith("timing/"):
            whole.metrics[name] = statistics.mean(part.metrics[name] for part in parts)
    summarise(whole, batch_size)
    for verdict in first.verdicts:
        worst = any if verdict == "contended" else all
        whole.verdicts[verdict] = worst(part.verdicts.get(verdict, True) for part in parts)
    widths = []
    for name in [*_series(first), *([RATIO] if f"{RATIO}/median" in first.metrics else [])]:
        interval = over_processes([part.metrics[f"{name}/median"] for part in parts])
        _set_interval(whole, name, interval)
        if name in ("latency_ms", RATIO):
            widths.append(interval.width_percent)
    whole.metrics["throughput_img_s"] = 1000 * batch_size / whole.metrics["latency_ms/median"]
    faster = first.metrics["latency_ms/median"] / whole.metrics["latency_ms/median"]
    for rate in RATES & whole.metrics.keys():
        whole.metrics[rate] *= faster
    if target_percent is not None:
        whole.verdicts["converged"] = max(widths) <= target_percent
    return whole


def _series(result: Result) -> list[str]:
    return [name for name in result.samples if name not in LABELS]


def _joined(parts: Sequence[Result]) -> Samples:
    """The series one after the other; batches are numbered on from one process to the next."""
    samples: Samples = {name: [value for part in parts for value in part.samples[name]] for name in parts[0].samples}
    samples["batch"], samples["process"], first = [], [], 0.0
    for index, part in enumerate(parts):
        samples["batch"] += [first + batch for batch in part.samples["batch"]]
        samples["process"] += [float(index)] * len(part.samples["batch"])
        first = samples["batch"][-1] + 1
    return samples


def _set_interval(result: Result, name: str, interval: Interval) -> None:
    result.metrics[f"{name}/median"] = interval.middle
    result.metrics[f"{name}/ci95_low"], result.metrics[f"{name}/ci95_high"] = interval.low, interval.high
    if name == RATIO:
        result.verdicts["distinguishable"] = interval.distinguishable
