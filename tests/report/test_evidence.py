"""Whether one figure can be told from another: quotients, through a common baseline where there is one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_points import points, record

from segbench.report.estimate import Estimate
from segbench.report.evidence import quotient
from segbench.report.quantity import LATENCY, QUANTITIES, RATIO


def test_points_of_one_baseline_are_compared_through_it() -> None:
    """Medians say that b is slower; the ratios, taken beside the same block, say that it is faster."""
    baseline = {"block": "dw"}
    a, b, _ = points(
        record(1.0, 2.0, baseline=baseline, block="a"),
        record(1.5, 1.0, baseline=baseline, block="b"),
        record(1.0, 1.0, baseline=baseline, block="dw"),
    )
    found = quotient(b, a, LATENCY)
    assert found is not None and found.value == pytest.approx(0.5)
    assert found.bounds[1] < 1


def test_a_point_and_its_baseline_are_compared_by_the_ratio_itself() -> None:
    baseline = {"block": "dw"}
    a, dw = points(record(9.0, 2.0, baseline=baseline, block="a"), record(1.0, 1.1, baseline=baseline, block="dw"))
    found, inverse = quotient(a, dw, LATENCY), quotient(dw, a, LATENCY)
    assert found == RATIO.estimate(a.record.metrics)
    assert inverse is not None and inverse.value == pytest.approx(0.5)
    assert inverse.bounds == pytest.approx((1 / 2.02, 1 / 1.98))


def test_points_with_baselines_of_their_own_are_compared_by_their_medians() -> None:
    """The baseline of a point at 24 channels is no baseline of one at 48."""
    baseline = {"block": "dw"}
    a, b = points(
        record(1.0, 3.0, baseline=baseline, block="stm", channels=24),
        record(2.0, 3.0, baseline=baseline, block="stm", channels=48),
    )
    found = quotient(a, b, LATENCY)
    assert found is not None and found.value == pytest.approx(0.5)


@given(a=st.floats(0.01, 100), b=st.floats(0.01, 100), width=st.floats(0.001, 0.5), times=st.integers(1, 50))
def test_quotients_turn_round_and_widen_with_the_number_of_comparisons(
    a: float, b: float, width: float, times: int
) -> None:
    first, second = points(record(a, width=width, block="a"), record(b, width=width, block="b"))
    found, inverse = quotient(first, second, LATENCY, times), quotient(second, first, LATENCY, times)
    assert found is not None and inverse is not None
    assert found.value == pytest.approx(a / b)
    assert found.bounds == pytest.approx((1 / inverse.bounds[1], 1 / inverse.bounds[0]))
    once = quotient(first, second, LATENCY)
    assert once is not None
    assert found.bounds[0] <= once.bounds[0] * (1 + 1e-12) and found.bounds[1] >= once.bounds[1] * (1 - 1e-12)


def test_rates_turn_the_direction() -> None:
    fast, slow = points(record(1.0, block="fast"), record(2.0, block="slow"))
    for point in (fast, slow):
        point.record.metrics["throughput_img_s"] = 1000 / point.record.metrics["latency_ms/median"]
    found = quotient(fast, slow, QUANTITIES["throughput"])
    assert found is not None and found.value == pytest.approx(2) and found.bounds[0] > 1


def test_speed_ups_are_compared_by_the_ratios_alone() -> None:
    baseline = {"mode": "baseline"}
    a, b = points(record(1.0, 0.5, baseline=baseline, mode="a"), record(2.0, 0.5, baseline=baseline, mode="b"))
    found = quotient(a, b, QUANTITIES["speedup"])
    assert found is not None and found.value == pytest.approx(1.0)


def test_a_measured_figure_without_an_interval_cannot_be_told_from_another() -> None:
    a, b = points(record(1.0, block="a"), record(1.0, block="b"))
    a.record.metrics["first_call/seconds"], b.record.metrics["first_call/seconds"] = 1.0, 2.0
    assert quotient(a, b, QUANTITIES["first_call"]) is None


@pytest.mark.parametrize(("a", "b", "found"), [(0, 5, 0.0), (5, 0, math.inf), (0, 0, 1.0), (6, 3, 2.0)])
def test_counts_may_be_zero(a: int, b: int, found: float) -> None:
    first, second = points(record(1.0, block="a", parameters=a), record(1.0, block="b", parameters=b))
    assert quotient(first, second, QUANTITIES["parameters"]) == Estimate(found)


def test_estimates_scale_with_their_interval() -> None:
    assert Estimate(2.0, 1.0, 4.0).scaled(0.5) == Estimate(1.0, 0.5, 2.0)
    assert Estimate(2.0).scaled(2).bounds == (4.0, 4.0)
