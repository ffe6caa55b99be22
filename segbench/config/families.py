"""Families of timm encoders, as the files in conf/family list them."""

from functools import lru_cache

from omegaconf import OmegaConf

from segbench.base.errors import NotAllowedError
from segbench.config.compose import CONF_DIR


def family_of(encoder: str) -> str | None:
    """The family of a timm encoder, by the lists in conf/family; `None` for one that is in none."""
    return _families().get(encoder.partition(".")[0])


def family_members(family: str) -> list[str]:
    """The encoders of a family. `ValueError` with the families where there is no such one."""
    path = CONF_DIR / "family" / f"{family}.yaml"
    if not path.is_file():
        allowed = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
        raise NotAllowedError("family", family, f"choose one of {allowed}")
    encoders: str = OmegaConf.load(path).hydra.sweeper.params["model.encoder"]
    return encoders.split(",")


@lru_cache(maxsize=1)
def _families() -> dict[str, str]:
    families = sorted(path.stem for path in (CONF_DIR / "family").glob("*.yaml"))
    return {encoder: family for family in families for encoder in family_members(family)}
