"""Where the configuration lives, and what of a composed configuration a point really uses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

_PACKAGE = Path(__file__).resolve().parents[1]
CONF_DIR = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())
"""The configuration folder: beside this file in a wheel, else the repository's."""

POINT_KEYS = (
    "model",
    "input",
    "batch_size",
    "seed",
    "form",
    "device",
    "precision",
    "timing",
    "execution",
    "phase",
    "isolation",
    "processes",
    "analysis",
    "machine",
)
"""What a point is measured from; whatever these refer to, by interpolation, is used as well."""

_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def used_parameters(raw: Mapping[str, Any], resolved: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices and options that a point uses, by short names: `block`, `channels`, `block.kernel_size`, ...

    `raw` is the configuration as a plain mapping with its interpolations, `resolved` the same without,
    `choices` the option chosen in every config group. A group that nothing refers to, for example the block
    of a network that has none of its own, is left out.
    """
    names: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for key in _used_keys(raw, POINT_KEYS):
        node = _lookup(raw, key)
        if key in choices:
            names[key] = choices[key]
        elif isinstance(node, list):
            if not all(_references(item) for item in node):
                options[key] = str(_lookup(resolved, key))
        elif not isinstance(node, Mapping):
            (options if "." in key else names)[key] = _lookup(resolved, key)
    return names | options


SWEEP_OVERRIDE = "tracker.parent_run="
"""Override by which a sweep hands its run to its points."""
OWN_OVERRIDES = (SWEEP_OVERRIDE, "resume=", "retry=", "hydra.sweep.subdir=")
"""Beginnings of overrides that are not the point's: they stay out of its record."""


def of_the_point(overrides: Sequence[str]) -> list[str]:
    """The overrides that say what a point is, without those of the sweep around it."""
    return [override for override in overrides if not override.startswith(OWN_OVERRIDES)]


ON_THIS_MACHINE = ("basic", "joblib", "submitit_local")


def launcher_of(choices: Mapping[str, Any]) -> str:
    """The launcher of a sweep's points, by the option chosen for it."""
    return str(choices.get("hydra/launcher") or "basic")


@dataclass(frozen=True)
class Sources:
    """What a configuration was composed from: folders of files, and the name of the first of them.

    `known` is whether that is all: packages, other than Hydra's own, may hold files as well.
    """

    folders: tuple[str, ...] = (str(CONF_DIR),)
    name: str = "config"
    known: bool = True

    @staticmethod
    def of(hydra: Any) -> Sources:
        """The sources of a configuration composed by Hydra, from its own part of it."""
        others = [found.path for found in hydra.runtime.config_sources if found.schema == "pkg"]
        return Sources(
            tuple(str(found.path) for found in hydra.runtime.config_sources if found.schema == "file"),
            str(hydra.job.config_name),
            known=set(others) <= {"hydra.conf"} and not hydra.job.env_set,
        )


NEVER_UNUSED = (
    "name",
    "tracker",
    "study",
    "family",
    "stage",
    "variant",
    "mode",
    "baseline",
    "timing",
    "input",
    "quick",
    "short",
    "report",
    "resume",
    "retry",
    "point_timeout_s",
    "neighbours",
)
"""Keys that a point may be given although nothing it is measured from refers to them."""


def unused_note(overrides: Sequence[str], parameters: Mapping[str, Any]) -> str | None:
    """Which of the typed keys a point does not use, in one sentence; `None` where it uses them all."""
    typed = [override.lstrip("+") for override in overrides if not override.startswith(("hydra", "~"))]
    unused = [override for override in typed if not _is_used(override.partition("=")[0], parameters)]
    if not unused:
        return None
    return f"{' '.join(unused)} changes nothing here: model={parameters.get('model')} does not use it"


def _is_used(key: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a typed key is among the parameters, above one of them, below one, or refers to one."""
    if key.partition(".")[0] in NEVER_UNUSED:
        return True
    return any(
        used == key or used.startswith(f"{key}.") or key.startswith(f"{used}.") or key.endswith(f".{used}")
        for used in parameters
    )


def hydra_value(value: Any) -> str:
    """A plain value as it is typed on Hydra's command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{hydra_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(hydra_value, value)) + "]"
    if isinstance(value, str) and not re.fullmatch(r"[\w./+-]+", value):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)


def family_of(encoder: str) -> str | None:
    """The family of a timm encoder, by the lists in conf/family; `None` for one that is in none."""
    return _families().get(encoder.partition(".")[0])


def family_members(family: str) -> list[str]:
    """The encoders of a family. `ValueError` with the families where there is no such one."""
    path = CONF_DIR / "family" / f"{family}.yaml"
    if not path.is_file():
        allowed = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
        raise ValueError(f"family={family} is not a choice: family is one of {allowed}")
    encoders: str = OmegaConf.load(path).hydra.sweeper.params["model.encoder"]
    return encoders.split(",")


@lru_cache(maxsize=1)
def _families() -> dict[str, str]:
    families = sorted(path.stem for path in (CONF_DIR / "family").glob("*.yaml"))
    return {encoder: family for family in families for encoder in family_members(family)}


def _references(node: Any) -> list[str]:
    """The keys that a value refers to by interpolation."""
    return _REFERENCE.findall(node) if isinstance(node, str) else []


def _used_keys(raw: Mapping[str, Any], roots: tuple[str, ...]) -> Iterator[str]:
    """Dotted keys of the nodes below `roots` and of what they refer to, each once, depth first."""
    seen: set[str] = set()

    def visit(key: str) -> Iterator[str]:
        if key in seen:
            return
        seen.add(key)
        node = _lookup(raw, key)
        items = node if isinstance(node, list) else [node]
        references = [reference for item in items for reference in _references(item)]
        if not references or isinstance(node, list) or "." not in key:
            yield key
        for reference in references:
            yield from visit(reference)
        if isinstance(node, Mapping):
            for child in node:
                if not str(child).startswith("_") or key.startswith("model.kwargs"):
                    yield from visit(f"{key}.{child}")

    for root in roots:
        yield from visit(root)


def _lookup(mapping: Mapping[str, Any], key: str) -> Any:
    node: Any = mapping
    for part in key.split("."):
        node = node[int(part)] if isinstance(node, list) else node[part]
    return node
