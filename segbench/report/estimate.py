"""A figure with its interval, and what may be computed from such figures."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

NORMAL = NormalDist()
NOMINAL = NORMAL.inv_cdf(0.975)


@dataclass(frozen=True)
class Estimate:
    """A figure, with its 95% interval where it was measured; exact figures have none."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def is_exact(self) -> bool:
        """Whether it has no interval."""
        return self.low is None or self.high is None

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval; of an exact figure the figure itself, twice."""
        return (self.value if self.low is None else self.low, self.value if self.high is None else self.high)

    def scaled(self, factor: float) -> Self:
        """The same in another unit."""
        return self._like(self.value * factor, *(bound * factor for bound in self.bounds))

    def inverse(self, factor: float = 1.0) -> Self:
        """`factor` over this figure: a rate from a time."""
        return self._like(factor / self.value, *(factor / bound for bound in reversed(self.bounds)))

    def over(self, other: Self) -> Self:
        """Quotient of two independent figures. Half-widths of logarithms add in squares; exact figures may be zero."""
        if other.value == 0:
            return type(self)(1.0 if self.value == 0 else math.inf)
        value = self.value / other.value
        if other.is_exact:
            return self._like(value, *(bound / other.value for bound in self.bounds))
        half = math.hypot(self._half_width(), other._half_width())
        return type(self)(value, value * math.exp(-half), value * math.exp(half))

    def widened(self, comparisons: int) -> Self:
        """The interval widened so that so many comparisons hold together with 95% (Bonferroni)."""
        if comparisons <= 1:
            return self
        factor = NORMAL.inv_cdf(1 - 0.025 / comparisons) / NOMINAL
        return self._like(self.value, *(self.value * (bound / self.value) ** factor for bound in self.bounds))

    def _like(self, value: float, low: float, high: float) -> Self:
        return type(self)(value) if self.is_exact else type(self)(value, low, high)

    def _half_width(self) -> float:
        """Half the interval of the logarithm."""
        low, high = self.bounds
        return math.log(high / low) / 2 if low > 0 else math.inf
