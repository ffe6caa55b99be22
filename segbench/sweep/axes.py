"""The overrides of a sweep: what was typed, what its study or its families add, and which of them it sweeps."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from omegaconf import DictConfig

from segbench.base.checks import boolean
from segbench.config.families import family_members
from segbench.config.keys import Role, has_role
from segbench.config.overrides import parsed, swept
from segbench.sweep.ending import RefusedError


def sweep_overrides(config: DictConfig, params: Mapping[str, Any], typed: Sequence[str]) -> list[str]:
    """All overrides of a sweep: the axes in `params`, replaced and followed by what was typed.

    `quick=true` gives a study its short axes and quick timing, and swept families become their encoders.
    """
    asked = _by_key([*(f"{key}={value}" for key, value in params.items()), *typed])
    if boolean("quick", config.quick):
        short = {"timing": "quick", **(config.short or {})}
        asked |= {key: f"{key}={value}" for key, value in short.items() if key not in _by_key(typed)}
    axes = swept(list(asked.values()))
    for key in axes:
        if has_role(key, Role.ONE_A_SWEEP):
            raise RefusedError(f"{key} cannot be swept: a sweep has one folder and one tracker")
    if "family" in axes:
        del asked["family"]
        families = map(str, axes["family"].sweep_string_iterator())
        asked["model.encoder"] = f"model.encoder={','.join(chain.from_iterable(map(family_members, families)))}"
    elif config.hydra.runtime.choices.get("family") and "encoder" not in config.model and "model" not in axes:
        raise RefusedError("family sweeps model.encoder: it needs model=encoder or model=segmenter")
    return list(asked.values())


def _by_key(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides by what they set, in the order in which that came up first; a later one replaces an earlier."""
    return {parsed(each).get_key_element().lstrip("+~"): each for each in overrides}
