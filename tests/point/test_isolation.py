"""Points in processes of their own: what happens to one ends it alone."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from conftest import ROOT, CommandLine

from segbench.base.errors import ProcessDiedError, UnsupportedError
from segbench.config.compose import composed
from segbench.measure.gpu import THROTTLING, gpu_evidence, read_state
from segbench.measure.memory import peak_rss_delta_bytes
from segbench.measure.result import Result
from segbench.measure.statistics import over_processes
from segbench.point.entry import measure_point, understand
from segbench.point.isolation import _how, in_fresh_process
from segbench.point.processes import combine, summarise

TINY = ("timing=fixed_20_100", "timing.warmup_calls=2", "timing.timed_calls=12", "device.threads=1", "tracker=none")
MODULES = """
import ctypes, os, resource, signal, sys, time
import torch
from torch import nn

class Fine(nn.Conv2d):
    def __init__(self): super().__init__(3, 8, 3)

class Killed(Fine):
    def forward(self, x): os.kill(os.getpid(), signal.SIGKILL)

class Crashes(Fine):
    def forward(self, x): ctypes.string_at(0)

class Exits(Fine):
    def forward(self, x): sys.exit(3)

class Hungry(Fine):
    def forward(self, x):
        resource.setrlimit(resource.RLIMIT_DATA, (2**28, 2**28))
        return torch.ones(2**30)

class Hangs(Fine):
    def forward(self, x):
        print(os.getpid(), flush=True)
        time.sleep(600)
"""


def dies(how: str) -> None:
    {"kill": lambda: os.kill(os.getpid(), signal.SIGKILL), "crash": lambda: ctypes.string_at(0)}.get(
        how, lambda: sys.exit(5)
    )()


def refuses() -> None:
    raise UnsupportedError("channels=3 is not allowed")


def pins_and_grows() -> tuple[int, float]:
    torch.set_num_threads(1)
    return os.getpid(), float(torch.ones(1000).sum())


def test_the_result_comes_back_from_another_process() -> None:
    pid, total = in_fresh_process(pins_and_grows)
    assert pid != os.getpid()
    assert total == 1000


def test_what_the_function_raises_is_raised_here() -> None:
    with pytest.raises(UnsupportedError, match="channels=3"):
        in_fresh_process(refuses)


@pytest.mark.parametrize(
    ("how", "said"),
    [("kill", r"killed \(SIGKILL: Killed\)"), ("crash", r"\(SIGSEGV: Segmentation fault\)"), ("exit", "exit code 5")],
)
def test_a_process_that_dies_is_reported(how: str, said: str) -> None:
    with pytest.raises(ProcessDiedError, match=said):
        in_fresh_process(partial(dies, how))


@pytest.mark.parametrize(
    ("code", "memory", "said"),
    [
        (-9, True, "memory ran out"),
        (-9, False, "was killed (SIGKILL: Killed)"),
        (-11, True, "was killed (SIGSEGV: Segmentation fault)"),
        (-40, False, "was killed (signal 40: Real-time"),
        (3, False, "exit code 3"),
    ],
)
def test_how_a_process_ended_is_told_by_its_own_signal(code: int, memory: bool, said: str) -> None:
    assert said in _how(code, memory)


def test_the_caller_sleeps_meanwhile() -> None:
    in_fresh_process(pins_and_grows)  # the server is there
    before = time.process_time()
    in_fresh_process(partial(time.sleep, 2.0))
    assert time.process_time() - before < 0.2  # processor time, not wall time


@pytest.mark.slow
def test_a_sweep_goes_on_after_points_that_died(segbench_in: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULES)
    names = ["Killed", "Crashes", "Exits", "Hungry", "Fine"]
    targets = ",".join(f"mine.{name}" for name in names)
    done = segbench_in("-m", "model=custom", f"model.target={targets}", "isolation=process", *TINY)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    paths = sorted(tmp_path.glob("outputs/adhoc/*/*/record.json"))
    found = {name: json.loads(path.read_text()) for name, path in zip(names, paths, strict=True)}
    assert {name: record["status"] for name, record in found.items()} == {
        "Killed": "failed",
        "Crashes": "failed",
        "Exits": "failed",
        "Hungry": "unsupported",
        "Fine": "ok",
    }
    for name, reason in (
        ("Killed", "SIGKILL"),
        ("Crashes", "SIGSEGV"),
        ("Exits", "SystemExit: 3"),
        ("Hungry", "alloc"),
    ):
        assert reason in found[name]["reason"]
        assert reason in done.stdout
    assert found["Fine"]["metrics"]["memory_bytes/peak_rss_delta"] >= 0


@pytest.mark.slow
def test_an_interrupted_point_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULES)
    sweep = ["-m", "model=custom", "model.target=mine.Fine,mine.Hangs", "isolation=process", *TINY]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *sweep],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    hanging = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "1 of 2 points are measured and kept" in errors
    assert not psutil.pid_exists(hanging)


@pytest.mark.slow
def test_a_killed_parent_takes_its_point_with_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULES)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), "model=custom", "model.target=mine.Hangs", "isolation=process", *TINY],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    hanging = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.wait()
    psutil.wait_procs([hanging], timeout=20)
    assert not hanging.is_running() or hanging.status() == psutil.STATUS_ZOMBIE
    process.stdout.close()


def test_several_processes_give_intervals_over_processes() -> None:
    typed = ["block=stm", "baseline={block:dw}", "isolation=process", "processes=3", *TINY]
    record, _ = measure_point(understand(composed(typed), typed, {}))
    assert record.status == "ok", record.reason
    samples, metrics = record.samples, record.metrics
    process = np.array(samples["process"])
    assert sorted(set(process)) == [0, 1, 2]
    assert len(samples["latency_ms"]) == len(samples["batch"]) == len(process) == 36
    medians = [float(np.median(np.array(samples["latency_ms"])[process == k])) for k in range(3)]
    interval = over_processes(medians)
    assert metrics["latency_ms/median"] == pytest.approx(interval.middle)
    assert metrics["latency_ms/ci95_high"] == pytest.approx(interval.high)
    assert metrics["latency_ms/n"] == 36
    assert metrics["parameters/train"] > 0
    assert metrics["ratio_to_baseline/ci95_low"] < metrics["ratio_to_baseline/median"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["isolation=maybe"], "isolation=maybe is not allowed"),
        (["processes=3"], "processes=3 is not allowed with isolation=none"),
        (["processes=2", "isolation=process"], "processes=2 is not allowed: use 1, or 3 or more"),
        (["processes=0", "isolation=process"], "processes=0"),
        (["channels=7", "block=stm", "isolation=process"], "channels=7"),
        (["baseline={device.threads:2}"], "device.threads holds for the point and its baseline alike"),
        (["baseline={timing:quick}"], "timing holds for the point and its baseline alike"),
        (["device.affinity=0"], "device.affinity=0 is not allowed: it must be a list"),
        (["device.affinity=[0,0]"], "it must be a list of different processors"),
        (["machine.l2_mib=-1"], "machine.l2_mib=-1"),
        (["machine.remeasure=maybe"], "machine.remeasure=maybe"),
        (["baseline={block:nope}", "isolation=process"], "baseline={'block': 'nope'} cannot be built"),
    ],
)
def test_bad_requests_are_one_sentence(overrides: list[str], said: str) -> None:
    typed = [*overrides, *TINY]
    record, _ = measure_point(understand(composed(typed), typed, {}))
    assert record.status == "unsupported"
    assert record.reason is not None and said in record.reason


def test_results_of_processes_are_joined() -> None:
    parts = []
    for index, level in enumerate((1.0, 1.1, 1.21)):
        part = Result({"parameters/train": 5.0, "timing/load_per_core": float(index)})
        part.samples = {"latency_ms": [level] * 8, "baseline_latency_ms": [level / 2] * 8, "batch": [0, 0, 1, 1] * 2}
        part.verdicts = {"steady": index != 1, "contended": index == 2, "converged": True}
        summarise(part, batch_size=1)
        parts.append(part)
    whole = combine(parts, batch_size=2, target_percent=1.0)
    assert whole.metrics["parameters/train"] == 5
    assert whole.metrics["timing/load_per_core"] == 1
    assert whole.metrics["latency_ms/median"] == pytest.approx(1.1)
    assert whole.metrics["throughput_img_s"] == pytest.approx(2000 / 1.1)
    assert whole.metrics["ratio_to_baseline/median"] == pytest.approx(2.0)
    assert whole.metrics["ratio_to_baseline/ci95_high"] == pytest.approx(2.0)
    assert whole.verdicts == {"steady": False, "contended": True, "converged": False, "distinguishable": True}
    assert whole.samples["batch"][:4] + whole.samples["batch"][8:12] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert whole.samples["process"] == [0.0] * 8 + [1.0] * 8 + [2.0] * 8


def grows(mebibytes: int) -> dict[str, float]:
    return peak_rss_delta_bytes(lambda: torch.ones(mebibytes * 2**18) + 1)


@pytest.mark.parametrize("mebibytes", [32, 256])
def test_the_peak_of_resident_memory_is_what_a_step_allocates(mebibytes: int) -> None:
    """Two tensors of a known size live at a time; another step of the same size has run before."""
    found = in_fresh_process(partial(grows, mebibytes))
    assert found["memory_bytes/peak_rss_delta"] == pytest.approx(2 * mebibytes * 2**20, rel=0.05)


class FakeNvmlError(Exception):
    pass


def test_a_gpu_state_is_read_as_far_as_it_is_supported() -> None:
    """A stand-in for NVML, whose names are checked against the real library below."""

    def unsupported(*_: object) -> None:
        raise FakeNvmlError

    masks = {f"nvmlClocksEventReason{reason}": 1 << bit for bit, reason in enumerate(THROTTLING)}
    nvml = SimpleNamespace(
        **masks,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        NVML_TEMPERATURE_GPU=0,
        NVMLError=FakeNvmlError,
        nvmlDeviceGetClockInfo=lambda handle, kind: 1000 + kind,
        nvmlDeviceGetEnforcedPowerLimit=lambda handle: 700000,
        nvmlDeviceGetPowerUsage=unsupported,
        nvmlDeviceGetTemperature=lambda handle, kind: 40,
        nvmlDeviceGetCurrentClocksEventReasons=lambda handle: 1 << 20 | 2,
    )
    assert read_state(nvml, object()) == {
        "gpu_clock_mhz": 1001,
        "gpu_memory_clock_mhz": 1002,
        "gpu_power_limit_w": 700,
        "gpu_temperature_c": 40,
        "gpu_throttled": 1,
    }
    nvml.nvmlDeviceGetCurrentClocksEventReasons = lambda handle: 1 << 20
    assert read_state(nvml, object())["gpu_throttled"] == 0


def test_the_names_are_those_of_nvml() -> None:
    import pynvml

    for reason in THROTTLING:
        assert getattr(pynvml, f"nvmlClocksEventReason{reason}") > 0
    assert callable(pynvml.nvmlDeviceGetCurrentClocksEventReasons)
    assert gpu_evidence(torch.device("cpu")) == {}
