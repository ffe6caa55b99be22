"""CUDA paths with a stand-in for the device: the order of calls, units and refusals, as far as no GPU can tell.

What a GPU alone can show, its numbers, is not tested here.
"""

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from segbench.base.errors import UnsupportedError
from segbench.measure.clock import clock_for, cuda_clock
from segbench.measure.cuda_memory import cuda_peak_bytes
from segbench.point.entry import try_out
from segbench.step.cuda_graph import WARM_UP_CALLS, CudaGraph
from segbench.step.onnxruntime import OnnxRuntime
from segbench.step.precision import Precision

CUDA = torch.device("cuda", 1)


class Device:
    """What the patched functions of torch.cuda did, in order; events read a clock that the steps move."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.now_ms = 0.0
        self.recording = False

    @contextlib.contextmanager
    def graph(self, graph: Any) -> Iterator[None]:
        self.recording = True
        yield
        self.recording = False
        self.log.append("recorded")

    @contextlib.contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.log.append("side stream")
        yield

    def event(self, enable_timing: bool) -> Any:
        event = SimpleNamespace(at=0.0, enable_timing=enable_timing)
        event.record = lambda: setattr(event, "at", self.now_ms)
        event.elapsed_time = lambda end: end.at - event.at
        return event


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    stand_in = Device()
    stream = SimpleNamespace(wait_stream=lambda other: stand_in.log.append("wait"))
    graph = SimpleNamespace(replay=lambda: stand_in.log.append("replay"))
    for name, value in {
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": stand_in.stream,
        "CUDAGraph": lambda: graph,
        "graph": stand_in.graph,
        "synchronize": lambda *_: stand_in.log.append("synchronise"),
        "Event": stand_in.event,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return stand_in


def placed_on_cuda(step: Any, **changes: Any) -> Any:
    """Something placed whose input says that it lies on a GPU."""
    where = SimpleNamespace(device=CUDA, dtype=torch.float32, is_contiguous=lambda: True)
    return SimpleNamespace(**({"input": where, "training": None, "autocast": None, "step": lambda: step} | changes))


def test_a_graph_is_warmed_up_on_a_side_stream_recorded_once_and_replayed(device: Device) -> None:
    calls: list[bool] = []

    def step() -> str:
        calls.append(device.recording)
        return "the recorded result"

    execution = CudaGraph().set_up(placed_on_cuda(step))
    assert calls == [False] * WARM_UP_CALLS + [True]
    assert device.log == ["wait", "side stream", "wait", "recorded", "synchronise"]
    execution.step()
    assert len(calls) == WARM_UP_CALLS + 1, "a replay does not call the module"
    assert execution.output() == "the recorded result"
    assert device.log[-3:] == ["replay", "replay", "synchronise"]
    assert execution.facts["first_call/seconds"] > 0


def test_what_cannot_be_recorded_is_unsupported_with_the_reason(device: Device) -> None:
    def step() -> None:
        if device.recording:
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(UnsupportedError, match="execution=cuda_graph: operation not permitted"):
        CudaGraph().set_up(placed_on_cuda(step))


def test_a_graph_has_no_training_steps(device: Device) -> None:
    with pytest.raises(UnsupportedError, match="has no training steps"):
        CudaGraph().set_up(placed_on_cuda(None, training=object()))


def test_device_time_comes_from_events_and_is_per_call(device: Device) -> None:
    def step() -> None:
        device.now_ms += 3.0

    elapsed, wall = cuda_clock(step, 4)
    assert elapsed == 3.0 and 0 < wall < 3.0
    assert device.log == ["synchronise", "synchronise"], "before the first event and after the last"
    assert clock_for(CUDA) == (cuda_clock, ("latency_ms", "latency_wall_ms"))


def test_peak_memory_is_the_steps_own(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = {"allocated": 100, "peak": 100, "reserved": 512}

    def step() -> None:
        memory["peak"] = max(memory["peak"], memory["allocated"] + 40)

    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda *_: memory["allocated"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *_: memory["peak"])
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda *_: memory["reserved"])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda *_: memory.update(peak=memory["allocated"]))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    found = cuda_peak_bytes(step)
    assert found["memory_bytes/cuda_peak_allocated"] == 40
    assert found["memory_bytes/cuda_resident"] == 100
    assert found["memory_bytes/cuda_peak_reserved"] == 512


@pytest.mark.parametrize(("capability", "allowed"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_tf32_needs_ampere(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], allowed: bool) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    context = contextlib.nullcontext() if allowed else pytest.raises(UnsupportedError, match="tf32 is not available")
    with context:
        Precision("float32", "tf32", None, 0.01, 0.05).require(CUDA)


def test_onnxruntime_on_cuda_needs_its_package_and_is_told_device_and_precision() -> None:
    asked: dict[str, Any] = {}

    def session(model: bytes, options: Any, providers: list[Any]) -> str:
        asked["providers"] = providers
        return "session"

    options = SimpleNamespace(intra_op_num_threads=0, inter_op_num_threads=0, log_severity_level=0)
    available = ["CPUExecutionProvider"]
    library = SimpleNamespace(
        SessionOptions=lambda: options, get_available_providers=lambda: available, InferenceSession=session
    )
    engine = OnnxRuntime(quantisation="none", tolerance=None)
    with pytest.raises(UnsupportedError, match="needs the package onnxruntime-gpu"):
        engine._session(library, b"", placed_on_cuda(None), "onnxruntime")
    available.append("CUDAExecutionProvider")
    assert engine._session(library, b"", placed_on_cuda(None), "onnxruntime") == "session"
    assert asked["providers"] == [("CUDAExecutionProvider", {"device_id": 1, "use_tf32": 0})]


def test_a_point_on_the_processor_asks_no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that needs its runtime opens a context, which takes memory on a GPU that others measure on."""

    def asked(*_: Any, **__: Any) -> None:
        raise AssertionError("the accelerator was asked")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    for name in ("current_device_index", "set_device_index", "synchronize", "current_stream"):
        monkeypatch.setattr(torch.accelerator, name, asked)
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.accelerator.memory, name, asked)
    for name in ("current_device", "get_device_properties", "synchronize", "_lazy_init"):
        monkeypatch.setattr(torch.cuda, name, asked)
    timing = ["timing=fixed_20_100", "timing.warmup_calls=0", "timing.timed_calls=6"]
    attempt = try_out(["block=dw", "channels=8", "resolution=8", "device.threads=1", *timing])
    assert attempt.status == "ok", attempt.traceback
