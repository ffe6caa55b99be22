"""Configurations: where they live, how they are composed, and how their nodes become objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.utils import create_config_search_path
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from segbench.config.loader import PointLoader

CONFIGURATION_ERRORS = (HydraException, OmegaConfBaseException)
"""What composing raises where something typed is wrong."""
_PACKAGE = Path(__file__).resolve().parents[1]
CONF_DIR = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())
"""The configuration folder: inside the package in a wheel, else the repository's."""
ON_THIS_MACHINE = ("basic", "joblib", "submitit_local")
"""Launchers whose points run where the sweep was started; others spread them over machines."""


def launcher_of(choices: Mapping[str, Any]) -> str:
    """The launcher of a sweep's points, by the option chosen for it."""
    return str(choices.get("hydra/launcher") or "basic")


@lru_cache(maxsize=1)
def _loader() -> PointLoader:
    Plugins.instance()  # they register choices of Hydra's own groups
    return PointLoader(create_config_search_path(str(CONF_DIR)))


def composed(overrides: list[str], with_hydra: bool = False) -> DictConfig:
    """The configuration of these overrides, whatever Hydra application runs around it."""
    version.setbase("1.3")
    config = _loader().compose("config", overrides)
    if not with_hydra:
        with open_dict(config):
            del config["hydra"]
    return config


def instantiated(node: Mapping[str, Any]) -> Any:
    """What a node with a `_target_` describes, or nodes by their names; a target's `ValueError` comes through."""
    try:
        return instantiate(node, _convert_="all")
    except MissingMandatoryValue as error:
        raise ValueError(f"{error.full_key} is needed: it has no default") from error
    except InstantiationException as error:
        cause = error.__cause__
        raise (cause if isinstance(cause, ValueError) else error) from error


def plain(config: DictConfig, resolve: bool) -> dict[str, Any]:
    """A configuration as a plain mapping, with its interpolations or with their values."""
    container = OmegaConf.to_container(config, resolve=resolve)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


@dataclass(frozen=True)
class Sources:
    """What a configuration was composed from: folders of files, and the name of the first of them.

    `known` is whether that is all: packages, other than Hydra's own, may hold files as well.
    """

    folders: tuple[str, ...] = (str(CONF_DIR),)
    name: str = "config"
    known: bool = True

    @staticmethod
    def of(hydra: Any) -> "Sources":
        """The sources of a configuration composed by Hydra, from its own part of it."""
        others = [found.path for found in hydra.runtime.config_sources if found.schema == "pkg"]
        return Sources(
            tuple(str(found.path) for found in hydra.runtime.config_sources if found.schema == "file"),
            str(hydra.job.config_name),
            known=set(others) <= {"hydra.conf"} and not hydra.job.env_set,
        )
