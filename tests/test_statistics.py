"""Statistics against simulated series with known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segbench.measure.statistics import median_interval, summary

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
