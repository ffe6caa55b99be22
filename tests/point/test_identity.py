"""What determines a result, as hashes; the accelerator is the one that the point's device names."""

from types import SimpleNamespace

import pytest
import torch

from segbench.point import environment
from segbench.point.identity import machine_hash


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two GPUs that note whose properties are asked for; that opens a context on them."""
    asked: list[int] = []

    def properties(index: int) -> SimpleNamespace:
        asked.append(index)
        return SimpleNamespace(name=f"GPU {index}", total_memory=2**30)

    def context_opened() -> int:
        raise AssertionError("asking for the current device opens a context")

    environment._accelerator.cache_clear()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    monkeypatch.setattr(torch.cuda, "current_device", context_opened)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 90000)
    return asked


def test_a_point_on_the_processor_looks_at_no_accelerator(looked_at: list[int]) -> None:
    assert environment.describe({"type": "cpu"})["accelerator"] is None
    assert environment.describe()["accelerator"] is None
    assert looked_at == []


def test_the_accelerator_is_the_one_that_the_device_names(looked_at: list[int]) -> None:
    """Whatever device an earlier point of the process has made the current one."""
    second = environment.describe({"type": "cuda", "index": 1})
    assert second["accelerator"]["name"] == "GPU 1" and second["accelerator"]["index"] == 1
    first = environment.describe({"type": "cuda", "index": 0})
    assert machine_hash(second) == machine_hash(environment.describe({"type": "cuda", "index": 1}))
    assert machine_hash(second) != machine_hash(first)
    assert set(looked_at) == {0, 1}


@pytest.mark.parametrize("device", [{"type": "cuda", "index": 7}, {"type": "cuda", "index": "x"}, {"type": "xpu"}])
def test_a_device_that_is_not_there_is_not_described(looked_at: list[int], device: dict) -> None:
    assert environment.describe(device)["accelerator"] is None
