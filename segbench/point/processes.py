"""Statistics of a point's raw series, and how the results of several processes become one."""

import statistics
from collections.abc import Sequence

from segbench.measure.result import BASELINE, Result, Samples
from segbench.measure.statistics import RatioInterval, over_processes, ratio_interval, summary

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
    for name, series in samples.items():
        if name not in LABELS:
            metrics |= summary(name, series)
    metrics["throughput_img_s"] = 1000 * batch_size / metrics["latency_ms/median"]
    if BASELINE + "latency_ms" in samples:
        batches = [int(batch) for batch in samples["batch"]]
        ratio = ratio_interval(samples["latency_ms"], samples[BASELINE + "latency_ms"], batches)
        _set_ratio(result, ratio)


def combine(parts: Sequence[Result], batch_size: int, target_percent: float | None) -> Result:
    """The results of several processes as one.

    Counts, memory and tables are the first's. Series are joined, with the process of every sample beside them. Medians
    and the ratio are the geometric means of the processes' own, with the interval over processes; evidence is averaged,
    and the verdicts are those of the worst. Raises `ValueError` for fewer than 3.
    """
    whole = Result(dict(parts[0].metrics), _joined(parts), tables=parts[0].tables)
    for name in set.intersection(*(set(part.metrics) for part in parts)):
        if name.startswith("timing/"):
            whole.metrics[name] = statistics.mean(part.metrics[name] for part in parts)
    summarise(whole, batch_size)
    widths = []
    for name in [name for name in parts[0].samples if name not in LABELS]:
        median = over_processes([part.metrics[f"{name}/median"] for part in parts])
        whole.metrics |= {f"{name}/median": median.middle, f"{name}/ci95_low": median.low}
        whole.metrics[f"{name}/ci95_high"] = median.high
        if name == "latency_ms":
            widths.append(median.width_percent)
    whole.metrics["throughput_img_s"] = 1000 * batch_size / whole.metrics["latency_ms/median"]
    faster = parts[0].metrics["latency_ms/median"] / whole.metrics["latency_ms/median"]
    for rate in RATES & whole.metrics.keys():
        whole.metrics[rate] *= faster
    for verdict in parts[0].verdicts:
        worst = any if verdict == "contended" else all
        whole.verdicts[verdict] = worst(part.verdicts.get(verdict, True) for part in parts)
    if "ratio_to_baseline/median" in parts[0].metrics:
        ratio = over_processes([part.metrics["ratio_to_baseline/median"] for part in parts])
        widths.append(ratio.width_percent)
        _set_ratio(whole, ratio)
    if target_percent is not None:
        whole.verdicts["converged"] = max(widths) <= target_percent
    return whole


def _joined(parts: Sequence[Result]) -> Samples:
    """The series one after the other; a batch's number stays its own."""
    samples: Samples = {name: [value for part in parts for value in part.samples[name]] for name in parts[0].samples}
    samples["batch"], first = [], 0.0
    samples["process"] = []
    for index, part in enumerate(parts):
        samples["batch"] += [first + batch for batch in part.samples["batch"]]
        samples["process"] += [float(index)] * len(part.samples["batch"])
        first = samples["batch"][-1] + 1
    return samples


def _set_ratio(result: Result, ratio: RatioInterval) -> None:
    result.metrics["ratio_to_baseline/median"] = ratio.middle
    result.metrics["ratio_to_baseline/ci95_low"] = ratio.low
    result.metrics["ratio_to_baseline/ci95_high"] = ratio.high
    result.verdicts["distinguishable"] = ratio.distinguishable
