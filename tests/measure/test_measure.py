"""Measurements against known answers."""

import math
import time
from collections.abc import Callable

import pytest
import torch
from torch import nn

from segbench.measure.error import relative_error, train_deploy_error
from segbench.measure.flops_torch import flops_torch
from segbench.measure.latency import AdaptiveProtocol, FixedProtocol
from segbench.measure.macs_thop import macs_thop
from segbench.measure.parameters import buffer_bytes, parameter_bytes, parameter_count, saved_bytes
from segbench.measure.statistics import ratio_interval
from segbench.measure.trace import trace_step

KIB = 1024


def peak_activation_bytes(step: Callable, module: nn.Module | None = None) -> int:
    return trace_step(step, module or nn.Identity()).peak_bytes


def traced(function, *shape: int) -> int:
    x = torch.ones(shape)
    with torch.inference_mode():
        return peak_activation_bytes(lambda: function(x))


def test_peak_activation_of_elementwise_chains() -> None:
    size = 4 * 256
    assert traced(lambda x: x * 2, 256) == size
    assert traced(lambda x: (x * 2).relu(), 256) == 2 * size  # the product lives until the result is there
    assert traced(lambda x: ((x * 2) * 3) * 4, 256) == 2 * size  # the first product is gone by then


def test_peak_activation_keeps_what_a_name_holds() -> None:
    def held(x: torch.Tensor) -> torch.Tensor:
        first = x * 2
        second = first * 3
        return second * first

    assert traced(held, 256) == 3 * 4 * 256


def test_peak_activation_counts_no_views_and_no_in_place_results() -> None:
    assert traced(lambda x: x.view(16, 16).t()[3:], 256) == 0
    assert traced(lambda x: (x * 2).relu_().view(16, 16), 256) == 4 * 256
    assert traced(lambda x: torch.chunk(x, 2)[0], 256) == 0


def test_peak_activation_follows_changing_sizes() -> None:
    assert traced(lambda x: torch.cat([x, x]) + 1, 256) == 2 * 2 * KIB
    assert traced(lambda x: x.double() * 2, 256) == 2 * 2 * KIB


def test_peak_activation_of_a_deployed_depthwise_convolution() -> None:
    conv = nn.Sequential(nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.ReLU()).eval()
    assert traced(conv, 1, 8, 16, 16) == 2 * 4 * 8 * 16 * 16


@pytest.mark.parametrize(
    "function",
    [
        lambda x: nn.functional.cosine_similarity(x, x * 1.5),
        lambda x: nn.functional.instance_norm(x),
        lambda x: nn.functional.scaled_dot_product_attention(x, x, x),
        lambda x: nn.functional.conv2d(x, torch.ones(4, 4, 3, 3)).relu(),
    ],
    ids=["cosine_similarity", "instance_norm", "attention", "conv2d"],
)
def test_composite_operators_show_their_parts_in_inference_mode_too(function: Callable) -> None:
    x = torch.ones(2, 4, 16, 16)
    with torch.inference_mode():
        inference = peak_activation_bytes(lambda: function(x))
    with torch.no_grad():
        assert inference == peak_activation_bytes(lambda: function(x))


def test_tracing_leaves_the_module_and_the_random_state_alone() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.random.get_rng_state()
    peak_activation_bytes(lambda: module(torch.ones(1, 3, 8, 8)), module)
    macs_thop(module, torch.ones(1, 3, 8, 8))
    flops_torch(module, torch.ones(1, 3, 8, 8))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert module.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_arithmetic_of_a_convolution() -> None:
    conv = nn.Conv2d(8, 16, 3, padding=1, bias=False).eval()
    macs = 16 * 8 * 9 * 10 * 12
    x = torch.ones(1, 8, 10, 12)
    assert macs_thop(conv, x) == macs
    assert flops_torch(conv, x) == 2 * macs


def test_parameters_and_bytes() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    shared = nn.ModuleList([module, module])
    assert parameter_count(shared) == 3 * 4 * 9 + 4 + 8
    assert parameter_bytes(module) == 4 * parameter_count(module)
    assert parameter_bytes(module.to(torch.bfloat16)) == 2 * parameter_count(module)
    assert buffer_bytes(module) == 2 * 4 * 2 + 8  # two statistics in bfloat16, one 64-bit counter
    assert saved_bytes(module) > parameter_bytes(module) + buffer_bytes(module)


def test_saved_bytes_are_those_of_the_file(tmp_path) -> None:
    module = nn.Linear(40, 30)
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    # the archive repeats its own name in every entry, so the two differ by a few bytes
    assert saved_bytes(module) == pytest.approx((tmp_path / "weights.pt").stat().st_size, rel=0.02)


def test_relative_error_is_relative_to_the_largest_value() -> None:
    reference = torch.tensor([1e14, 1.0])
    assert relative_error(reference + torch.tensor([0.0, 1e10]), reference) == pytest.approx(1e-4)
    assert relative_error(torch.zeros(3), torch.zeros(3)) == 0
    assert relative_error([torch.ones(2), {"a": torch.ones(2)}], [torch.ones(2), {"a": torch.zeros(2)}]) == 1


def test_a_result_without_tensors_is_not_verified() -> None:
    with pytest.raises(ValueError, match="no tensor"):
        relative_error(object(), object())


def test_relative_error_of_broken_results() -> None:
    assert math.isinf(relative_error(torch.tensor([math.nan]), torch.ones(1)))
    assert math.isinf(relative_error(torch.tensor([math.inf]), torch.ones(1)))
    with pytest.raises(ValueError, match="shapes differ"):
        relative_error(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError):
        relative_error([torch.ones(2)], [torch.ones(2), torch.ones(2)])


class WrongFold(nn.Module):
    """A module whose deploy form forgets the batch norm's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)

    def switch_to_deploy(self) -> None:
        self.norm.running_mean.zero_()


def test_a_wrong_fold_is_seen_although_initial_statistics_would_hide_it() -> None:
    module = WrongFold().eval()
    x = torch.randn(1, 4, 8, 8)
    assert train_deploy_error(module, x) > 1e-2
    assert bool((module.norm.running_mean == 0).all()) and bool((module.norm.weight == 1).all())


CPU = torch.device("cpu")


def test_the_fixed_protocol_makes_exactly_the_calls_it_says() -> None:
    calls: list[int] = []
    timed = FixedProtocol(warmup_calls=3, timed_calls=8).measure([lambda: lambda: calls.append(1)], CPU)
    assert len(calls) == 11
    assert len(timed.samples["latency_ms"]) == 8 and min(timed.samples["latency_ms"]) >= 0


@pytest.mark.parametrize(("warmup", "timed", "word"), [(-1, 9, "warmup_calls=-1"), (0, 5, "timed_calls=5")])
def test_counts_without_an_interval_are_refused(warmup: int, timed: int, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        FixedProtocol(warmup_calls=warmup, timed_calls=timed)


def adaptive(**changes: float) -> AdaptiveProtocol:
    defaults = {
        "target_percent": 50.0,
        "budget_s": 0.3,
        "warmup_budget_s": 0.1,
        "batch_s": 0.01,
        "fewest_batches": 6,
        "retries": 0,
    }
    return AdaptiveProtocol(**{**defaults, **changes})  # type: ignore[arg-type]  # tests choose the fields


def busy(microseconds: float) -> Callable[[], None]:
    """A step of a known length."""

    def step() -> None:
        end = time.perf_counter_ns() + 1000 * microseconds
        while time.perf_counter_ns() < end:
            pass

    return step


def test_the_adaptive_protocol_pairs_what_it_times_in_batches_of_copies() -> None:
    made: list[int] = []

    def maker(step: Callable[[], None]) -> Callable[[], Callable[[], None]]:
        def make() -> Callable[[], None]:
            made.append(1)
            return step

        return make

    timed = adaptive().measure([maker(busy(300)), maker(busy(200))], CPU)
    batches = timed.samples["batch"]
    assert len(timed.samples["latency_ms"]) == len(timed.samples["baseline_latency_ms"]) == len(batches)
    assert len(set(batches)) >= 6 and len(made) == 2 * (len(set(batches)) + 1)
    ratio = ratio_interval(timed.samples["latency_ms"], timed.samples["baseline_latency_ms"], batches)
    assert ratio.middle == pytest.approx(1.5, rel=0.1)
    assert timed.verdicts.keys() == {"steady", "contended", "warmed_up", "converged"}


def test_short_steps_are_timed_several_calls_at_a_time() -> None:
    timed = adaptive().measure([lambda: lambda: None], CPU)
    assert timed.metrics["timing/inner_calls"] > 100
    assert timed.metrics["timing/timer_floor_ms"] < 1e-3, "an empty step measures under a microsecond"


def test_a_budget_that_holds_no_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="too short for one sample"):
        adaptive(budget_s=1e-5).measure([lambda: busy(2000)], CPU)


def test_an_unsteady_measurement_is_tried_again() -> None:
    calls = iter(range(10**9))

    def make() -> Callable[[], None]:
        return lambda: busy(100 if next(calls) < 40 else 1000)()

    timed = adaptive(retries=1, warmup_budget_s=1e-6, target_percent=1e-9).measure([make], CPU)
    assert timed.metrics["timing/attempts"] in (1.0, 2.0)
    assert timed.verdicts["steady"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"target_percent": 0}, "timing.target_percent=0"),
        ({"budget_s": -1}, "timing.budget_s=-1"),
        ({"fewest_batches": 3}, "timing.fewest_batches=3"),
        ({"retries": -1}, "timing.retries=-1"),
    ],
    ids=str,
)
def test_adaptive_settings_without_sense_are_refused(changes: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        adaptive(**changes)
