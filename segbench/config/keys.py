"""Every key of the configuration and its roles: the one table that says what a key is for.

A test walks over `conf/` and demands a line for each key. What lies below a key (`block.kernel_size`) has its roles
too. A key that a user adds (`+mine=1`) has none.
"""

from enum import Flag, auto


class Role(Flag):
    """What a key is for."""

    NONE = 0
    MEASURED = auto()
    """A point is measured from it, and from all that it refers to by interpolation."""
    INCIDENTAL = auto()
    """It says where results go and how a sweep runs, but cannot change what a point gives: it is in no identity."""
    SHARED = auto()
    """A point and its baseline have one value of it, because both run in turns in one process."""
    PRESET = auto()
    """It only sets other keys; the point's parameters name the choice all the same."""
    GATE = auto()
    """It decides whether a point may be timed. It is no parameter of the point, but another value is another point."""
    AXIS = auto()
    """It takes whole numbers from 1 on."""
    REPLAYED = auto()
    """A bundle that somebody else made may set it: it chooses among what is here, or gives a number."""
    ALLOWED_UNUSED = auto()
    """A point may be given it although nothing that the point is measured from refers to it."""
    OF_THE_SWEEP = auto()
    """The sweep hands it to its points; it stays out of their records."""
    LOCAL = auto()
    """It belongs to one run in one place: commands that are shown to be repeated leave it out."""
    ONE_A_SWEEP = auto()
    """It cannot be swept: a sweep has one folder and one tracker."""


_CHOICE = Role.REPLAYED
_MEASURED = Role.MEASURED | Role.REPLAYED
_MEASURED_ALIKE = _MEASURED | Role.SHARED
_PRESET = Role.PRESET | Role.REPLAYED | Role.ALLOWED_UNUSED
_AROUND = Role.INCIDENTAL | Role.ALLOWED_UNUSED

KEYS: dict[str, Role] = {
    "model": _MEASURED,
    "input": _MEASURED | Role.ALLOWED_UNUSED,
    "batch_size": _MEASURED | Role.AXIS,
    "seed": _MEASURED,
    "form": _MEASURED,
    "device": _MEASURED_ALIKE,
    "precision": _MEASURED,
    "timing": _MEASURED_ALIKE | Role.ALLOWED_UNUSED,
    "execution": _MEASURED,
    "phase": _MEASURED_ALIKE,
    "isolation": _MEASURED_ALIKE,
    "processes": _MEASURED_ALIKE,
    "analysis": _MEASURED_ALIKE,
    "machine": _MEASURED_ALIKE,
    "block": _CHOICE,
    "prcm": _CHOICE,
    "decoder": _CHOICE,
    "channels": _CHOICE | Role.AXIS,
    "in_channels": _CHOICE | Role.AXIS,
    "resolution": _CHOICE | Role.AXIS,
    "widths": _CHOICE,
    "form_tolerance": _CHOICE | Role.GATE,
    "memory_format": _CHOICE,
    "baseline": _CHOICE | Role.ALLOWED_UNUSED,
    "mode_baseline": Role.NONE,
    "family": _CHOICE | Role.ALLOWED_UNUSED,
    "study": _CHOICE | Role.ALLOWED_UNUSED,
    "stage": _PRESET,
    "variant": _PRESET,
    "mode": _PRESET,
    "name": _AROUND | Role.ONE_A_SWEEP,
    "quick": _AROUND | Role.REPLAYED,
    "short": _AROUND,
    "report": _AROUND,
    "point_timeout_s": _AROUND | Role.SHARED,
    "neighbours": _AROUND | Role.SHARED,
    "resume": _AROUND | Role.SHARED | Role.OF_THE_SWEEP | Role.LOCAL,
    "retry": _AROUND | Role.SHARED | Role.OF_THE_SWEEP | Role.LOCAL,
    "tracker": _AROUND | Role.SHARED | Role.LOCAL | Role.ONE_A_SWEEP,
    "tracker.parent_run": Role.OF_THE_SWEEP,
    "hydra": _AROUND | Role.LOCAL,
    "hydra.sweep.subdir": Role.OF_THE_SWEEP,
}


def keys_with(role: Role) -> tuple[str, ...]:
    """The keys that have a role, in the order of the table."""
    return tuple(key for key, roles in KEYS.items() if role in roles)


def has_role(key: str, role: Role) -> bool:
    """Whether a dotted key, or one above it, has a role."""
    parts = key.split(".")
    above = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return any(role in KEYS.get(each, Role.NONE) for each in above)
