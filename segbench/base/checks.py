"""Checks of values that come from the user: each returns the value, or raises what is wrong as data."""

from collections.abc import Collection, Sequence

from segbench.base.errors import NotAllowedError, OddError


def positive_int(name: str, value: object) -> int:
    """Return `value` if it is an integer of at least 1, else raise `NotAllowedError`."""
    return _int_from(1, name, value)


def natural_int(name: str, value: object) -> int:
    """Return `value` if it is an integer of at least 0, else raise `NotAllowedError`."""
    return _int_from(0, name, value)


def _int_from(least: int, name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise NotAllowedError(name, value, f"it must be an integer, {least} or more")
    return value


def odd_int(name: str, value: object) -> int:
    """Return `value` if it is a positive odd integer, else raise `NotAllowedError`."""
    number = positive_int(name, value)
    if number % 2 == 0:
        raise NotAllowedError(name, value, "it must be odd (1, 3, 5, 7, ...)")
    return number


def even_int(name: str, value: object) -> int:
    """Return `value` if it is a positive even integer, else raise `OddError`."""
    number = positive_int(name, value)
    if number % 2 == 1:
        raise OddError(name, value, "it must be even (2, 4, 6, ...)")
    return number


def probability(name: str, value: object) -> float:
    """Return `value` if it lies in [0, 1], else raise `NotAllowedError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise NotAllowedError(name, value, "it must lie between 0 and 1")
    return float(value)


def one_of(name: str, value: object, allowed: Collection[str]) -> str:
    """Return `value` if it is among `allowed`, else raise `NotAllowedError` with the choices."""
    if not isinstance(value, str) or value not in allowed:
        raise NotAllowedError(name, value, f"choose one of {', '.join(sorted(allowed))}")
    return value


def equal_width(block: str, channels: int, in_channels: int) -> None:
    """Raise `NotAllowedError` where a block that cannot change its width is asked to."""
    positive_int("channels", channels)
    if in_channels != channels:
        rule = f"{block} cannot change its width, both must be equal"
        raise NotAllowedError("in_channels", in_channels, rule, beside=f"channels={channels}")


def multiple_of(stride: int, size: Sequence[int]) -> None:
    """Raise `ValueError` where a map of this size cannot be halved down to `stride` without a remainder."""
    if any(length % stride for length in size):
        found = " x ".join(str(length) for length in size)
        raise ValueError(f"an input of {found} is not allowed: this network needs multiples of {stride}")


def two_voxels(stride: int, size: Sequence[int]) -> None:
    """Raise `ValueError` where the map at `stride` would be a single voxel, which instance norm refuses."""
    if all(length // stride <= 1 for length in size):
        found = " x ".join(str(length) for length in size)
        raise ValueError(
            f"an input of {found} is not allowed: at stride {stride} a single voxel is left, instance norm needs two"
        )


def positive_number(name: str, value: object) -> float:
    """Return `value` if it is a finite number above 0, else raise `NotAllowedError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise NotAllowedError(name, value, "it must be a number above 0")
    return float(value)


def list_of_positive(name: str, value: object, count: int) -> list[int]:
    """Return `value` if it lists `count` positive integers, else raise `NotAllowedError`."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != count:
        raise NotAllowedError(name, value, f"it must list {count} values")
    return [positive_int(f"{name}[{index}]", item) for index, item in enumerate(value)]


def boolean(name: str, value: object) -> bool:
    """Return `value` if it is a truth value, else raise `NotAllowedError`."""
    if not isinstance(value, bool):
        raise NotAllowedError(name, value, "it must be true or false")
    return value
