"""Numbers as people read them."""

import math


def significant(value: float, digits: int = 4) -> str:
    """`value` with `digits` significant digits, thousands grouped, no exponent between 1e-4 and 1e9."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e9:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def interval(median: float, low: float, high: float) -> str:
    """A median with its interval: as many decimals as the width makes meaningful, but two digits of the median."""
    if not all(map(math.isfinite, (median, low, high))):
        return f"{significant(median)} [{low:.3g}, {high:.3g}]"
    width = max(high - low, abs(median) * 1e-4)
    decimals = 0 if width == 0 else max(0, 1 - math.floor(math.log10(width)))
    if 0 < abs(median) < width:
        decimals = max(decimals, 1 - math.floor(math.log10(abs(median))))
    return f"{median:,.{decimals}f} [{low:,.{decimals}f}, {high:,.{decimals}f}]"


def count(value: float) -> str:
    """A whole number, thousands grouped."""
    return f"{value:,.0f}"
