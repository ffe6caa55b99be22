"""Configurations: where they live, how they are composed, and how their nodes become objects. Hydra ends here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

_PACKAGE = Path(__file__).resolve().parents[1]
CONF_DIR = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())
"""The configuration folder: inside the package in a wheel, else the repository's."""
ON_THIS_MACHINE = ("basic", "joblib", "submitit_local")
"""Launchers whose points run where the sweep was started; others spread them over machines."""


def launcher_of(choices: Mapping[str, Any]) -> str:
    """The launcher of a sweep's points, by the option chosen for it."""
    return str(choices.get("hydra/launcher") or "basic")


def composed(overrides: list[str], with_hydra: bool = False) -> DictConfig:
    """The configuration of these overrides, whatever Hydra application runs around it."""
    application = GlobalHydra.instance()
    around, application.hydra = application.hydra, None
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            return compose("config", overrides, return_hydra_config=with_hydra)
    finally:
        application.hydra = around


def instantiated(node: DictConfig) -> Any:
    """What a node with a `_target_` describes; a `ValueError` from the target comes through as it is."""
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
