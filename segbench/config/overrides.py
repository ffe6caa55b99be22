"""Overrides as they are typed (`block=dw`, `+x.y=1`, `~key`), read and written by Hydra's own grammar."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from segbench.config.keys import Role, has_role

_WORD = re.compile(r"[A-Za-z_/.][\w./+-]*")
"""Text that the grammar takes without quotes; what also reads as a number or a constant is checked by parsing it."""


@lru_cache(maxsize=4096)
def parsed(override: str) -> Override:
    """An override by Hydra's parser. `HydraException` where it is none."""
    return OverridesParser.create().parse_override(override)


def readable(overrides: Sequence[Any]) -> list[str]:
    """Those that the grammar can read: what others wrote may hold what is no override."""
    found = []
    for each in overrides:
        with suppress(HydraException):
            if isinstance(each, str) and parsed(each):
                found.append(each)
    return found


def key_of(override: str) -> str:
    """The dotted key that an override sets, without sign and package; of a group in a group too: `hydra.launcher`."""
    return parsed(override).key_or_group.replace("/", ".")


def value_of(override: str) -> Any:
    """The plain value that an override sets; of one that sweeps, its text."""
    found = parsed(override)
    return override.partition("=")[2] if found.is_sweep_override() else found.value()


def swept(overrides: Sequence[str]) -> dict[str, Override]:
    """The overrides that span a sweep, by the keys as they are typed; a later one takes the place of an earlier."""
    found = {each.get_key_element(): each for each in map(parsed, overrides)}
    return {key: each for key, each in found.items() if each.is_sweep_override()}


def without(overrides: Sequence[str], role: Role) -> list[str]:
    """The overrides whose keys do not have a role."""
    return [override for override in overrides if not has_role(key_of(override), role)]


def of_the_point(overrides: Sequence[str]) -> list[str]:
    """The overrides that say what a point is, without those that the sweep around it handed down."""
    return without(overrides, Role.OF_THE_SWEEP)


def decisive(overrides: Sequence[str]) -> list[str]:
    """The overrides that can change what a point gives."""
    return without(overrides, Role.INCIDENTAL)


def override(key: str, value: Any) -> str:
    """The override that gives a key a plain value."""
    return f"{key}={written(value)}"


def written(value: Any) -> str:
    """A plain value in Hydra's grammar: reading it back gives the same value of the same type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{written(str(key))}:{written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, str):
        return value if _is_plain(value) else QuotedString(text=value, quote=Quote.single).with_quotes()
    return str(value)


@lru_cache(maxsize=4096)
def _is_plain(text: str) -> bool:
    """Whether a text reads back as itself without quotes."""
    if not _WORD.fullmatch(text):
        return False
    try:
        return bool(parsed(f"key={text}").value() == text)
    except HydraException:
        return False
