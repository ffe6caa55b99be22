"""The table of keys: a key that is added to conf/ has no roles until somebody gives it some here."""

from collections.abc import Iterator
from typing import Any

import pytest
from omegaconf import OmegaConf

from segbench.config.compose import CONF_DIR, composed, plain
from segbench.config.keys import KEYS, Role, has_role, keys_with


def keys_in_conf() -> Iterator[str]:
    """Every key that a configuration can have at its top: the first file's, groups, and what other files set."""
    yield from composed([])
    yield from (path.name for path in CONF_DIR.iterdir() if path.is_dir())
    for path in CONF_DIR.rglob("*.yaml"):
        if "# @package _global_" in path.read_text(encoding="utf-8"):
            yield from (str(key) for key in OmegaConf.load(path) if key != "defaults")


IN_CONF = dict.fromkeys(keys_in_conf())
DEFAULTS = plain(composed([], with_hydra=True), resolve=False)


@pytest.mark.parametrize("key", IN_CONF)
def test_every_key_in_conf_is_in_the_table(key: str) -> None:
    assert key in KEYS


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_table_is_in_conf(key: str) -> None:
    node: Any = IN_CONF | DEFAULTS
    for part in key.split("."):
        assert part in node
        node = node[part]


@pytest.mark.parametrize(
    ("key", "role", "expected"),
    [
        ("block.kernel_size", Role.REPLAYED, True),
        ("tracker.parent_run", Role.OF_THE_SWEEP, True),
        ("tracker.uri", Role.OF_THE_SWEEP, False),
        ("tracker.uri", Role.ONE_A_SWEEP, True),
        ("hydra.sweep.subdir", Role.OF_THE_SWEEP, True),
        ("hydra.sweep.dir", Role.LOCAL, True),
        ("added_by_a_user", Role.INCIDENTAL, False),
        ("channels", Role.MEASURED, False),
    ],
)
def test_what_lies_below_a_key_has_its_roles(key: str, role: Role, expected: bool) -> None:
    assert has_role(key, role) is expected


def test_a_bundle_sets_nothing_that_says_where_results_go() -> None:
    around = set(keys_with(Role.INCIDENTAL)) - {"quick"}
    assert around.isdisjoint(keys_with(Role.REPLAYED))
