"""The axes of a sweep: which overrides span it, and how many points they make."""

from __future__ import annotations

import math

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from segbench.config.families import family_members
from segbench.config.overrides import key_of, of_the_point


def join_families(config: DictConfig, swept: Override) -> list[str]:
    """Put the encoders of all swept families in the place of `family`; returns the sweep's overrides."""
    names = [encoder for family in swept.sweep_string_iterator() for encoder in family_members(family)]
    task = [o for o in config.hydra.overrides.task if key_of(o) not in ("family", "model.encoder")]
    with open_dict(config):
        config.hydra.overrides.task = [*task, f"model.encoder={','.join(names)}"]
    return sweep_overrides(config)


def shorten(config: DictConfig) -> None:
    """Give a study its short axes and quick timing, but for the keys that were typed."""
    typed = {key_of(override) for override in config.hydra.overrides.task}
    short = {"timing": "quick", **(config.short or {})}
    added = [f"{key}={value}" for key, value in short.items() if key not in typed]
    with open_dict(config):
        config.hydra.overrides.task = [*config.hydra.overrides.task, *added]


def user_overrides(config: DictConfig) -> list[str]:
    """The overrides of a job without those that a sweep added."""
    return of_the_point(config.hydra.overrides.task)


def sweep_overrides(config: DictConfig) -> list[str]:
    """The overrides of a multirun: a study's own sweep axes, replaced and followed by the command line's."""
    params = OmegaConf.to_container(config.hydra.sweeper.get("params") or OmegaConf.create({}))
    assert isinstance(params, dict)
    typed = list(config.hydra.overrides.task)
    replaced = {key_of(override) for override in typed}
    return [f"{key!s}={value}" for key, value in params.items() if key not in replaced] + typed


def count_points(sweeps: dict[str, Override]) -> int | None:
    """The number of points that the overrides span, `None` where only Hydra can tell (`glob`)."""
    try:
        return math.prod(len(list(override.sweep_string_iterator())) for override in sweeps.values())
    except HydraException:
        return None
