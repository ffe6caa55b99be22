"""Secrets of the tracker's address: the configuration holds it without them, the environment of the process whole.

`MLFLOW_TRACKING_URI` is MLflow's own variable for it; processes and jobs that a sweep starts inherit it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from segbench.tracking.address import HIDDEN, redact, redact_text
from segbench.tracking.scrub import remember

VARIABLE = "MLFLOW_TRACKING_URI"
CREDENTIALS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
KEY = "tracker.uri"
SHOWN_OVERRIDE = f"++{KEY}="
"""Override by which a sweep hands its points the address without its secrets; it is not the user's."""
REFERENCE = re.compile(r"\$\{[^}]*\}")


class AddressError(ValueError):
    """The tracker's address cannot be used as it was given; the message says what to do."""


def settle(uri: str | None) -> str:
    """The address to show and to record; where it has secrets, the whole one goes into the environment.

    `AddressError` where there is none: no `uri`, and nothing in the environment.
    """
    address = uri or os.environ.get(VARIABLE)
    if not address:
        raise AddressError(f"the tracker has no address: set {VARIABLE}, or {KEY}=http://HOST:PORT")
    shown = redact(address)
    if shown != address:
        os.environ[VARIABLE] = address
        remember(address)
    return shown


def real_address(shown: str | None) -> str:
    """The whole address of one that is shown without its secrets; every other address is itself."""
    _remember_environment()
    given = os.environ.get(VARIABLE)
    if given and shown in (None, redact(given)):
        return given
    if shown is None or HIDDEN in shown:
        raise AddressError(f"its secret is not in {VARIABLE}: set that to the whole address")
    remember(shown)
    return shown


def shown_override(shown: str) -> str:
    """The override that sets the address to one without secrets."""
    return SHOWN_OVERRIDE + _quoted(shown)


def without_secrets(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration whose tracker's address has no secrets."""
    tracker = config.get("tracker")
    if not isinstance(tracker, dict) or not isinstance(tracker.get("uri"), str):
        return config
    return {**config, "tracker": {**tracker, "uri": redact(tracker["uri"])}}


def hide_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command line, the tracker's address without its secrets. `AddressError` where it cannot be."""
    _remember_environment()
    return [_hidden(argument) for argument in arguments]


def _remember_environment() -> None:
    remember(*(value for name in (VARIABLE, *CREDENTIALS) if (value := os.environ.get(name))))


def _hidden(argument: str) -> str:
    key, _, typed = argument.partition("=")
    if any(name in argument for name in (VARIABLE, *CREDENTIALS)) and "${oc.env:" not in argument:
        remember(typed)
        raise AddressError(f"{key} would be recorded: set the variable in the environment that segbench starts in")
    if key.lstrip("+~").partition(".")[0] != "tracker" or not ("://" in typed or "${" in typed):
        return argument
    address = _value(argument) if key.lstrip("+") == KEY else None
    if address is not None:
        shown = settle(address)
        return argument if shown == address else f"{key}={_quoted(shown)}"
    literal = REFERENCE.sub(HIDDEN, typed)
    if redact_text(literal) != literal:
        remember(typed)
        raise AddressError(f"{key} holds a secret: give one whole address as {KEY}, or set {VARIABLE}")
    return argument


def _value(argument: str) -> str | None:
    """What an override sets, without quotes and with its references resolved; `None` where it is no such text."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:  # characters that Hydra wants quoted, as passwords have them
        return argument.partition("=")[2].strip().strip("'\"")
    value = override.value()
    if override.is_sweep_override() or not isinstance(value, str):
        return None
    try:
        return str(OmegaConf.create({"uri": value})["uri"])
    except OmegaConfBaseException:
        return None


def _quoted(text: str) -> str:
    """The text as a value of Hydra's grammar."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return text if re.fullmatch(r"[\w/.:*@+%-]+", text) else QuotedString(text=text, quote=Quote.single).with_quotes()
