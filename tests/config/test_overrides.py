"""Overrides: what is written reads back as the same value, and keys are told apart as Hydra does."""

from typing import Any

import pytest
from hydra.errors import HydraException
from hypothesis import given
from hypothesis import strategies as st

from segbench.config.compose import composed
from segbench.config.overrides import decisive, key_of, of_the_point, override, parsed, swept, value_of

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
KEYS = st.from_regex(r"[a-z_]{1,6}(\.[a-z]{1,4})?", fullmatch=True).filter(
    lambda key: key not in ("null", "true", "inf")
)
NUMBERS = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_a_written_value_reads_back_with_its_type(value: Any) -> None:
    assert repr(value_of(override("key", value))) == repr(value)


@pytest.mark.parametrize(
    "text", ["123", "true", "null", "1e3", "inf", "C:\\new\\", "it's", "a,b", "${x}", " edge ", ""]
)
def test_texts_that_look_like_something_else_stay_texts(text: str) -> None:
    assert value_of(override("key", text)) == text


@pytest.mark.parametrize("text", ["123", "true", "1e3", "back\\slash", "\\'"])
def test_a_composed_configuration_holds_the_text(text: str) -> None:
    changed = composed([override("+mine", text), override("baseline", {"name": text})])
    assert changed.mine == text
    assert changed.baseline.name == text


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("block=dw", "block"),
        ("+a.b=1", "a.b"),
        ("++a.b=1", "a.b"),
        ("~a.b", "a.b"),
        ("hydra/launcher=ray", "hydra.launcher"),
        ("prcm@other=se", "prcm"),
        ("channels=range(8,24)", "channels"),
    ],
)
def test_keys_are_told_apart_from_signs_packages_and_values(text: str, key: str) -> None:
    assert key_of(text) == key


def test_what_the_sweep_hands_down_is_not_the_points() -> None:
    handed = ["tracker.parent_run=1", "resume=true", "retry=[failed]", "hydra.sweep.subdir=3"]
    assert of_the_point(["block=dw", *handed, "tracker=none"]) == ["block=dw", "tracker=none"]


def test_what_decides_a_result() -> None:
    assert decisive(["+model.x=1", "~baseline", "hydra.run.dir=x", "name=y"]) == ["+model.x=1", "~baseline"]


def test_a_later_override_takes_the_place_of_an_earlier() -> None:
    found = swept(["seed=1,2", "seed=3", "block=dw,stm", "model=block"])
    assert list(found) == ["block"]


def test_what_is_no_override_is_refused() -> None:
    with pytest.raises(HydraException):
        parsed("no override")
