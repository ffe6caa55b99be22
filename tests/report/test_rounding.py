"""Numbers as people read them."""

import pytest

from segbench.report.rounding import count, interval, significant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234.56, "1,235"),
        (0.0123456, "0.01235"),
        (12.3456, "12.35"),
        (1e-7, "1.000e-07"),
        (2e12, "2.000e+12"),
    ],
)
def test_significant_digits(value: float, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.39056, 0.3871, 0.4301), "0.391 [0.387, 0.430]"),
        ((7.667, 7.06, 7.99), "7.67 [7.06, 7.99]"),
        ((1234.5, 1200, 1270), "1,234 [1,200, 1,270]"),
        ((0.5, 0.5, 0.5), "0.500000 [0.500000, 0.500000]"),
    ],
)
def test_intervals_decide_the_decimals(values: tuple[float, float, float], text: str) -> None:
    assert interval(*values) == text


def test_counts_are_grouped() -> None:
    assert count(43584.0) == "43,584"
