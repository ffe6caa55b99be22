"""Statistics against simulated series with known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segbench.measure.statistics import drifts, median_interval, over_processes, ratio_interval, summary

RUNS = 600


def coverage(draw, n: int) -> float:
    """Share of simulated series whose interval contains the true median, 0."""
    hits = 0
    for seed in range(RUNS):
        interval = median_interval(draw(np.random.default_rng(seed), n))
        hits += interval.low <= 0 <= interval.high
    return hits / RUNS


def autoregressive(rho: float):
    def draw(random: np.random.Generator, n: int) -> np.ndarray:
        noise = random.standard_normal(n + 50) * np.sqrt(1 - rho**2)
        values = np.zeros(n + 50)
        for i in range(1, n + 50):
            values[i] = rho * values[i - 1] + noise[i]
        return values[50:]

    return draw


@pytest.mark.parametrize("n", [100, 500])
def test_interval_of_independent_samples_covers(n: int) -> None:
    assert 0.93 <= coverage(lambda random, n: random.standard_normal(n), n) <= 1


@pytest.mark.parametrize("n", [100, 500])
def test_interval_of_samples_with_outliers_covers(n: int) -> None:
    assert 0.93 <= coverage(lambda random, n: random.standard_t(1, n), n) <= 1


@pytest.mark.parametrize(("rho", "n"), [(0.5, 100), (0.8, 100), (0.5, 500), (0.8, 500), (0.9, 500)])
def test_interval_of_correlated_samples_covers(rho: float, n: int) -> None:
    assert coverage(autoregressive(rho), n) >= 0.92


def test_interval_of_constant_samples_is_the_constant() -> None:
    interval = median_interval([3.0] * 50)
    assert interval.low == interval.high == 3.0


@given(arrays(np.float64, st.integers(6, 60), elements=st.floats(0.001, 1e6)))
def test_interval_holds_the_median_and_stays_within_the_samples(samples: np.ndarray) -> None:
    interval = median_interval(samples)
    assert samples.min() <= interval.low <= np.median(samples) <= interval.high <= samples.max()


@pytest.mark.parametrize("samples", [[], [1.0], [1.0] * 5])
def test_an_interval_needs_six_samples(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="at least 6"):
        median_interval(samples)


def test_summary_of_known_samples() -> None:
    found = summary("latency_ms", [float(v) for v in range(1, 102)])
    assert found["latency_ms/median"] == 51
    assert found["latency_ms/mean"] == 51
    assert found["latency_ms/std"] == pytest.approx(np.std(np.arange(101), ddof=1))
    assert (found["latency_ms/min"], found["latency_ms/p5"], found["latency_ms/p95"]) == (1, 6, 96)
    assert found["latency_ms/iqr"] == 50
    assert found["latency_ms/n"] == 101


def paired(random: np.random.Generator, truth: float, disturbed: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latencies of a point and its baseline: a common drift and common bursts, copies that differ, and noise.

    20 batches of 40, as the protocol gives in a second of steps of half a millisecond.
    """
    n = 800
    batches = np.repeat(np.arange(20), 40)
    common = np.exp(np.cumsum(random.normal(0, 0.01, n)))
    if disturbed:
        common = np.where(random.random(n) < 0.2, common * random.uniform(1, 5, n), common)
    copies = np.exp(random.normal(0, 0.01, 20))[batches]
    noise = np.exp(random.normal(0, 0.03, (2, n)))
    if disturbed:
        noise *= 1 + (random.random((2, n)) < 0.05) * random.uniform(0, 10, (2, n))
    return truth * common * copies * noise[0], common * noise[1], batches


@pytest.mark.parametrize("disturbed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_interval_of_a_ratio_covers_whatever_drifts_and_bursts(disturbed: bool) -> None:
    hits = 0
    for seed in range(2000):
        interval = ratio_interval(*paired(np.random.default_rng(seed), 1.0, disturbed))
        hits += not interval.distinguishable
    assert 0.935 <= hits / 2000 <= 0.97


def test_a_difference_of_two_percent_is_told_apart() -> None:
    found = [ratio_interval(*paired(np.random.default_rng(seed), 1.02, False)) for seed in range(RUNS)]
    assert sum(interval.distinguishable for interval in found) / RUNS >= 0.95
    assert np.mean([interval.middle for interval in found]) == pytest.approx(1.02, rel=1e-3)


@pytest.mark.parametrize("processes", [3, 5, 10])
def test_the_interval_over_processes_covers_where_processes_differ(processes: int) -> None:
    hits = 0
    for seed in range(2000):
        random = np.random.default_rng(seed)
        values = 1.5 * np.exp(random.normal(0, 0.02, processes))
        interval = over_processes(list(values))
        hits += interval.low <= 1.5 <= interval.high
    assert 0.935 <= hits / 2000 <= 0.965


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 1.1]])
def test_an_interval_over_processes_needs_three(values: list[float]) -> None:
    with pytest.raises(ValueError, match="at least 3"):
        over_processes(values)


def test_the_ratio_is_that_of_undisturbed_calls() -> None:
    """A neighbour that slows most calls of either series, by a different factor, leaves the ratio as it is."""
    random = np.random.default_rng(0)
    slow = random.random((2, 800)) < 0.7
    point = 2.0 * (1 + slow[0] * random.uniform(1, 5, 800)) * np.exp(random.normal(0, 0.002, 800))
    baseline = 1.0 * (1 + slow[1] * random.uniform(0, 1, 800)) * np.exp(random.normal(0, 0.002, 800))
    interval = ratio_interval(list(point), list(baseline), list(np.repeat(np.arange(20), 40)))
    assert interval.middle == pytest.approx(2.0, rel=0.005)


def test_few_batches_fall_back_to_the_pairs() -> None:
    interval = ratio_interval([2.0] * 10, [1.0] * 10, [0] * 10)
    assert (interval.low, interval.middle, interval.high) == (2, 2, 2)
    assert interval.distinguishable


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=6, max_size=40))
def test_a_ratio_and_its_reverse_are_reciprocal(pairs: list[tuple[float, float]]) -> None:
    point, baseline = (list(series) for series in zip(*pairs, strict=True))
    batches = list(range(len(pairs)))
    one, other = ratio_interval(point, baseline, batches), ratio_interval(baseline, point, batches)
    assert one.middle == pytest.approx(1 / other.middle)
    assert one.low == pytest.approx(1 / other.high)


def test_a_drift_is_seen_and_noise_is_not() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(1, 0.05, 200)
    assert drifts(noise * np.linspace(1.3, 1.0, 200))
    assert not drifts(noise)
    assert sum(drifts(np.random.default_rng(seed).normal(1, 0.05, 100)) for seed in range(200)) <= 6
    assert not drifts([1.0] * 100) and not drifts([1.0] * 4)


def test_two_modes_that_alternate_are_no_drift() -> None:
    random = np.random.default_rng(0)
    assert not drifts(np.where(random.random(400) < 0.3, 2.0, 1.0) + random.normal(0, 0.01, 400))
