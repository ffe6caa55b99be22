"""The quantities that reports show: how each derives from a point's metrics, its unit, and which way is better."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial

from segbench.report.estimate import Estimate
from segbench.report.rounding import count, interval, significant

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Quantity:
    """A column of a table or an axis of a plot.

    `metric` names the figure in the record and in CSV files, `label` the quantity as shown, in `unit`, which is
    `scale` of the metric's, with so many significant `digits`. `power` says how it depends on the latency: 1 grows with
    it, -1 is a rate, 0 does not. A `measured` figure without an interval cannot be told from any other.
    """

    metric: str
    label: str
    unit: str = ""
    scale: float = 1
    _: KW_ONLY
    lower_is_better: bool | None = True
    power: int = 0
    additive: bool = False
    measured: bool = False
    digits: int = 4
    derive: Callable[[Metrics], Estimate | None] | None = None

    @property
    def title(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def estimate(self, metrics: Metrics) -> Estimate | None:
        """The figure in the metric's own unit, with the interval that stands beside it; `None` without a figure."""
        if self.derive:
            return self.derive(metrics)
        if self.metric not in metrics:
            return None
        return Estimate(metrics[self.metric], *(metrics.get(name) for name in self.interval_names))

    @property
    def interval_names(self) -> tuple[str, str]:
        """The names under which the ends of the interval stand in the record and in CSV files."""
        stem = self.metric.removesuffix("/median")
        return f"{stem}/ci95_low", f"{stem}/ci95_high"

    def shown(self, estimate: Estimate) -> Estimate:
        """The figure in `unit`."""
        return estimate.scaled(1 / self.scale)

    def text(self, estimate: Estimate) -> str:
        """The figure in `unit`, rounded, with its interval."""
        shown = self.shown(estimate)
        if not shown.is_exact:
            return interval(shown.value, *shown.bounds)
        whole = self.scale == 1 and not self.measured and float(shown.value).is_integer()
        return count(shown.value) if whole else significant(shown.value, self.digits)


LATENCY = Quantity("latency_ms/median", "latency", "ms", power=1, measured=True, additive=True)
RATIO = Quantity("ratio_to_baseline/median", "ratio to baseline", power=1, measured=True)


def _over_latency(metric: str, metrics: Metrics) -> Estimate | None:
    """The rate that the record holds for the median latency, with the latency's interval turned round."""
    latency = LATENCY.estimate(metrics)
    if metric not in metrics or latency is None:
        return None
    return latency.inverse(metrics[metric] * latency.value)


def _intensity(metrics: Metrics) -> Estimate | None:
    moved = metrics.get("memory_bytes/moved")
    return Estimate(metrics["flops/audited"] / moved) if moved else None


MIB = 2**20
_count = partial(Quantity, additive=True)
_memory = partial(Quantity, unit="MiB", scale=MIB)
_rate = partial(Quantity, lower_is_better=False, power=-1, measured=True)


def _speedup(metrics: Metrics) -> Estimate | None:
    ratio = RATIO.estimate(metrics)
    return ratio and ratio.inverse()


def _throughput(metric: str, label: str, unit: str = "images/s") -> Quantity:
    return _rate(metric, label, unit, derive=partial(_over_latency, metric))


SPEEDUP = _rate("speedup/median", "speed-up", derive=_speedup)


QUANTITIES = {
    "parameters": _count("parameters/deploy", "parameters"),
    "parameters_train": _count("parameters/train", "parameters, training form"),
    "parameters_encoder": _count("parameters/encoder", "parameters of the encoder"),
    "macs": _count("macs/thop", "MACs by thop", "M", 1e6),
    "flops_torch": _count("flops/torch", "FLOPs of products", "M", 1e6),
    "flops": _count("flops/audited", "FLOPs, audited", "M", 1e6),
    "latency": LATENCY,
    "mean": Quantity("latency_ms/mean", "mean latency", "ms", additive=True, measured=True),
    "std": Quantity("latency_ms/std", "standard deviation", "ms", measured=True),
    "ratio": RATIO,
    "speedup": SPEEDUP,
    "throughput": _throughput("throughput_img_s", "throughput"),
    "efficiency": _throughput("throughput_img_s_per_mparam", "efficiency", "images/s per million parameters"),
    "throughput_equivalent": _throughput("throughput_equivalent_img_s", "throughput in 512 x 512 equivalents"),
    "peak_activation": _memory("memory_bytes/peak_activation", "peak activations"),
    "peak_activation_per_image": _memory("memory_bytes/peak_activation_per_image", "peak activations per image"),
    "peak_activation_train": _memory("memory_bytes/peak_activation_train", "peak activations, training form"),
    "peak_activation_deploy": _memory("memory_bytes/peak_activation_deploy", "peak activations, deploy form"),
    "peak_saved": Quantity(
        "memory_saved_percent/peak_activation_deploy", "saved by the deploy form", "%", lower_is_better=False
    ),
    "moved": _memory("memory_bytes/moved", "bytes read and written", additive=True),
    "largest_working_set": _memory("memory_bytes/largest_working_set", "largest working set"),
    "intensity": Quantity(
        "intensity/audited", "arithmetic intensity", "FLOPs/byte", lower_is_better=None, derive=_intensity
    ),
    "roofline_share": Quantity(
        "roofline/share", "attained of the attainable", "%", 0.01, lower_is_better=False, measured=True
    ),
    "cuda_peak_allocated": _memory("memory_bytes/cuda_peak_allocated", "CUDA peak allocated"),
    "error": Quantity("error/vs_reference", "error against float32", digits=2),
    "first_call": Quantity("first_call/seconds", "first call", "s", measured=True, digits=3),
}
"""By the names that a study's tables, plots and claims use."""
