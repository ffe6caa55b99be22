"""From a configuration to a task: errors under the keys that were typed, and what a baseline may change."""

import pickle

import pytest

from segbench.base.errors import GateError, NotAllowedError, OddError, UnsupportedError
from segbench.config.compose import composed, plain
from segbench.point.task import Task, baseline_of, refusals, task_of


def task(*overrides: str) -> Task:
    return task_of(plain(composed(list(overrides)), resolve=True), {})


def test_an_argument_is_shown_under_the_one_key_that_the_point_uses() -> None:
    with pytest.raises(UnsupportedError, match=r"^prcm\.num_basis=-1 is not allowed"), refusals(["prcm.num_basis"]):
        raise NotAllowedError("num_basis", -1, "it must be an integer, 1 or more")
    with pytest.raises(UnsupportedError, match=r"^in_channels=3 is not allowed"), refusals(["in_channels", "channels"]):
        raise OddError("in_channels", 3, "it must be even")
    with pytest.raises(UnsupportedError, match=r"^size=1 is not"), refusals(["prcm.size", "block.size"]):
        raise NotAllowedError("size", 1, "two keys end so: neither is put in")


def test_only_the_name_is_replaced_and_never_a_word_in_the_sentence() -> None:
    with pytest.raises(UnsupportedError, match=r"^depth: depth=3 is too deep$"), refusals(["block.depth"]):
        raise ValueError("depth: depth=3 is too deep")


@pytest.mark.parametrize(
    "error", [NotAllowedError("a", 1, "b", "c=2"), OddError("a", 1, "b"), GateError("x", {"e": 1})]
)
def test_errors_come_through_a_pipe_whole(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_a_task_that_goes_to_another_process_has_built_nothing_yet() -> None:
    asked = task("block=dw", "channels=8")
    assert pickle.loads(pickle.dumps(asked)) == asked
    assert "module" not in vars(asked) and "input" not in vars(asked)


def test_a_baseline_has_its_own_module_and_the_points_settings() -> None:
    overrides = ["block=stm", "channels=8", "device.threads=1", "baseline={block:dw,memory_format:channels_last}"]
    asked = task(*overrides)
    other = baseline_of(asked, overrides)
    assert other is not None
    assert type(other.module).__name__ == "DWBlock" and type(asked.module).__name__ == "STMBlock"
    assert (other.device.memory_format, other.device.threads) == ("channels_last", 1)
    assert baseline_of(task("block=dw"), ["block=dw"]) is None
