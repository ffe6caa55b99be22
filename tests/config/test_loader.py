"""Composing points fast gives exactly what Hydra composes."""

from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from segbench.config.compose import CONF_DIR, composed
from segbench.config.loader import PointLoader

SEARCH_PATH = create_automatic_config_search_path(None, None, str(CONF_DIR))
setup_globals()
FAST = PointLoader(SEARCH_PATH)


def options(group: str) -> list[str]:
    """The overrides that choose among the files of a group."""
    return [f"{group}={path.stem}" for path in sorted((CONF_DIR / group).glob("*.yaml"))]


CHOICES = [
    choice
    for group in ("model", "block", "prcm", "precision", "execution", "mode", "timing", "variant", "stage")
    for choice in options(group)
]
VALUES = [
    "channels=24",
    "channels=96",
    "seed=3",
    "+mine=1",
    "+mine.deep=x",
    "++channels=7",
    "block.kernel_size=5",
    "prcm.num_basis=4",
    "prcm={num_basis:2}",
    "baseline={block:stm}",
    "baseline=null",
    "input.shape=[3,32,32]",
    "resolution=${channels}",
    "device.threads=1",
    "device.affinity=[0]",
    "timing.budget_s=1e-3",
    "name='a b'",
    "~short",
    "~seed",
    "prcm@other=se",
    "tracker.parent_run=abc",
    "hydra.sweep.subdir=7",
    "hydra.sweep.dir='x,y'",
    "hydra.job.name=other",
    "chanels=3",
    "block=nope",
    "seed=1,2",
]


def outcome(loader: ConfigLoaderImpl, master: DictConfig, overrides: list[str]) -> tuple:
    """What a loader makes of a point: its configuration with all flags, or its error."""
    try:
        config = loader.load_sweep_config(master, list(overrides))
    except HydraException as error:
        cause = error.__cause__
        return type(error), str(error), type(cause), str(cause)
    flags = [(str(key), OmegaConf.is_struct(node), OmegaConf.is_readonly(node)) for key, node in nodes(config)]
    return OmegaConf.to_container(config, resolve=False), OmegaConf.get_cache(config), flags


def nodes(config: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    yield "", config
    for key in config:
        if isinstance(node := config._get_node(key), DictConfig):
            yield from ((f"{key}.{name}", below) for name, below in nodes(node))


POINTS = st.tuples(
    st.lists(st.sampled_from(CHOICES), max_size=3, unique_by=lambda each: each.split("=")[0]),
    st.lists(st.sampled_from(VALUES), max_size=5),
).flatmap(lambda parts: st.permutations([*parts[0], *parts[1]]))


@settings(max_examples=4, deadline=None)
@given(POINTS)
def test_a_point_is_what_hydra_composes(overrides: list[str]) -> None:
    check_point(overrides)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(POINTS)
def test_many_points_are_what_hydra_composes(overrides: list[str]) -> None:
    check_point(overrides)


def check_point(overrides: list[str]) -> None:
    slow = ConfigLoaderImpl(SEARCH_PATH)
    master = slow.load_configuration("config", ["hydra.run.dir=here"], RunMode.MULTIRUN)
    expected = outcome(slow, master, overrides)
    assert outcome(FAST, master, overrides) == expected
    assert outcome(FAST, master, overrides) == expected, "and again, from what was composed before"


def test_a_point_does_not_change_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    master = FAST.load_configuration("config", [], RunMode.MULTIRUN)
    first = FAST.load_sweep_config(master, ["block=stm", "block.kernel_size=5", "baseline={block:dw}"])
    second = FAST.load_sweep_config(master, ["block=stm"])
    assert (first.block.kernel_size, second.block.kernel_size) == (5, 7)
    assert (first.baseline, second.baseline) == ({"block": "dw"}, None)
    composed = []
    monkeypatch.setattr(FAST, "load_configuration", lambda *_: composed.append(1))
    assert FAST.load_sweep_config(master, ["block=stm", "channels=3"]).channels == 3
    assert not composed, "nothing is composed anew for another value"


@pytest.mark.parametrize("overrides", [[], ["block=stm", "channels=3"], ["study=block_ablation/channels", "seed=2"]])
def test_a_composed_configuration_is_what_hydra_composes(overrides: list[str]) -> None:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        expected = compose("config", overrides)
    assert composed(overrides) == expected
    assert composed(overrides)._metadata.flags == expected._metadata.flags
