"""The quantities that reports show: how each derives from a point's metrics, its unit, and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from segbench.base.checks import one_of

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Estimate:
    """A figure, with its 95% interval where it was measured; exact figures have none."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval; of an exact figure the figure itself, twice."""
        return (self.value if self.low is None else self.low, self.value if self.high is None else self.high)

    def scaled(self, factor: float) -> Estimate:
        """The same in another unit."""
        if self.low is None or self.high is None:
            return Estimate(self.value * factor)
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Quantity:
    """A column of a table or an axis of a plot.

    `metric` names the figure in the record and in CSV files, `label` the quantity as shown, in `unit`, which is
    `scale` of the metric's. `power` says how it depends on the latency: 1 grows with it, -1 is a rate, 0 does not.
    `measured` figures are no exact ones: without an interval they can be told from nothing.
    """

    metric: str
    label: str
    unit: str = ""
    scale: float = 1
    lower_is_better: bool | None = True
    power: int = 0
    additive: bool = False
    derive: Callable[[Metrics], Estimate | None] | None = None
    measured: bool = False

    @property
    def title(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def of(self, metrics: Metrics) -> Estimate | None:
        """The figure in the metric's own unit, `None` where the point has none."""
        if self.derive:
            return self.derive(metrics)
        return Estimate(metrics[self.metric]) if self.metric in metrics else None

    def shown(self, estimate: Estimate) -> Estimate:
        """The figure in `unit`."""
        return estimate.scaled(1 / self.scale)


def _interval(prefix: str) -> Callable[[Metrics], Estimate | None]:
    names = [f"{prefix}/{name}" for name in ("median", "ci95_low", "ci95_high")]
    return lambda metrics: Estimate(*(metrics[name] for name in names)) if names[0] in metrics else None


def _inverse(
    of: Callable[[Metrics], Estimate | None], factor: Callable[[Metrics], float]
) -> Callable[..., Estimate | None]:
    """A rate from a time, its interval turned round."""

    def derive(metrics: Metrics) -> Estimate | None:
        time = of(metrics)
        if time is None or time.low is None or time.high is None:
            return None
        scale = factor(metrics)
        return Estimate(scale / time.value, scale / time.high, scale / time.low)

    return derive


_latency, _ratio = _interval("latency_ms"), _interval("ratio_to_baseline")


def _rate(metric: str) -> Callable[[Metrics], Estimate | None]:
    """A rate that the record holds as a figure for the median latency, with the latency's interval."""
    return _inverse(_latency, lambda m: m[metric] * m["latency_ms/median"])


def _where(metric: str, derive: Callable[[Metrics], Estimate | None]) -> Callable[[Metrics], Estimate | None]:
    return lambda metrics: derive(metrics) if metric in metrics else None


def _intensity(metrics: Metrics) -> Estimate | None:
    if not metrics.get("memory_bytes/moved"):
        return None
    return Estimate(metrics["flops/audited"] / metrics["memory_bytes/moved"])


MIB = 2**20
QUANTITIES = {
    "parameters": Quantity("parameters/deploy", "parameters", additive=True),
    "parameters_train": Quantity("parameters/train", "parameters, training form", additive=True),
    "parameters_encoder": Quantity("parameters/encoder", "parameters of the encoder", additive=True),
    "macs": Quantity("macs/thop", "MACs by thop", "M", 1e6, additive=True),
    "flops_torch": Quantity("flops/torch", "FLOPs of products", "M", 1e6, additive=True),
    "flops": Quantity("flops/audited", "FLOPs, audited", "M", 1e6, additive=True),
    "latency": Quantity("latency_ms/median", "latency", "ms", power=1, measured=True, additive=True, derive=_latency),
    "mean": Quantity("latency_ms/mean", "mean latency", "ms", additive=True, measured=True),
    "std": Quantity("latency_ms/std", "standard deviation", "ms", measured=True),
    "ratio": Quantity("ratio_to_baseline/median", "ratio to baseline", power=1, measured=True, derive=_ratio),
    "speedup": Quantity(
        "speedup/median",
        "speed-up",
        lower_is_better=False,
        power=-1,
        measured=True,
        derive=_inverse(_ratio, lambda _: 1.0),
    ),
    "throughput": Quantity(
        "throughput_img_s",
        "throughput",
        "images/s",
        lower_is_better=False,
        power=-1,
        measured=True,
        derive=_where("throughput_img_s", _rate("throughput_img_s")),
    ),
    "efficiency": Quantity(
        "throughput_img_s_per_mparam",
        "efficiency",
        "images/s per million parameters",
        lower_is_better=False,
        power=-1,
        measured=True,
        derive=_where("throughput_img_s_per_mparam", _rate("throughput_img_s_per_mparam")),
    ),
    "throughput_equivalent": Quantity(
        "throughput_equivalent_img_s",
        "throughput in 512 x 512 equivalents",
        "images/s",
        lower_is_better=False,
        power=-1,
        measured=True,
        derive=_where("throughput_equivalent_img_s", _rate("throughput_equivalent_img_s")),
    ),
    "peak_activation": Quantity("memory_bytes/peak_activation", "peak activations", "MiB", MIB),
    "peak_activation_per_image": Quantity(
        "memory_bytes/peak_activation_per_image", "peak activations per image", "MiB", MIB
    ),
    "peak_activation_train": Quantity(
        "memory_bytes/peak_activation_train", "peak activations, training form", "MiB", MIB
    ),
    "peak_activation_deploy": Quantity(
        "memory_bytes/peak_activation_deploy", "peak activations, deploy form", "MiB", MIB
    ),
    "peak_saved": Quantity(
        "memory_saved_percent/peak_activation_deploy", "saved by the deploy form", "%", lower_is_better=False
    ),
    "moved": Quantity("memory_bytes/moved", "bytes read and written", "MiB", MIB, additive=True),
    "largest_working_set": Quantity("memory_bytes/largest_working_set", "largest working set", "MiB", MIB),
    "intensity": Quantity(
        "intensity/audited", "arithmetic intensity", "FLOPs/byte", lower_is_better=None, derive=_intensity
    ),
    "roofline_share": Quantity(
        "roofline/share", "attained of the attainable", "%", 0.01, lower_is_better=False, measured=True
    ),
    "cuda_peak_allocated": Quantity("memory_bytes/cuda_peak_allocated", "CUDA peak allocated", "MiB", MIB),
    "error": Quantity("error/vs_reference", "error against float32"),
    "first_call": Quantity("first_call/seconds", "first call", "s", measured=True),
}
"""By the names that a study's tables, plots and claims use."""


def quantity(name: str) -> Quantity:
    """The quantity of this name. `ValueError` lists the names there are."""
    return QUANTITIES[one_of("quantity", name, QUANTITIES)]
