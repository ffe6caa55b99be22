"""Machine facts, ceilings, parts, and the files and tables of `analysis=full`."""

import io
import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import CommandLine
from rich.console import Console
from torch import Tensor, nn

import segbench
from segbench.config.compose import CONF_DIR
from segbench.measure.ceilings import Ceilings, ceilings, measure_ceilings
from segbench.measure.machine import MIB, Machine, MachineSettings, read_caches
from segbench.measure.macs_thop import macs_thop, macs_thop_by_module
from segbench.measure.parts import part_latencies, parts_at
from segbench.measure.trace import trace_step
from segbench.point.analysis import FullAnalysis, count_rows, kind_rows, module_rows
from segbench.point.entry import try_out
from segbench.report.analysis import print_analysis, write

CPU = torch.device("cpu")
TINY = ("timing=fixed_20_100", "timing.warmup_calls=2", "timing.timed_calls=12", "device.threads=1")


def cache(folder: Path, processor: int, index: int, level: int, kind: str, size: str, shared: str) -> None:
    target = folder / f"cpu{processor}" / "cache" / f"index{index}"
    target.mkdir(parents=True)
    for name, text in (("level", str(level)), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
        (target / name).write_text(text + "\n")


def test_caches_are_counted_as_often_as_the_threads_reach_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    for processor in range(4):
        cache(tmp_path, processor, 0, 1, "Data", "32K", str(processor))
        cache(tmp_path, processor, 1, 1, "Instruction", "64K", str(processor))
        cache(tmp_path, processor, 2, 2, "Unified", "1024K", "0-1" if processor < 2 else "2-3")
        cache(tmp_path, processor, 3, 3, "Unified", "32M", "0-3")
    assert read_caches(tmp_path, threads=1) == {1: 32 * 1024, 2: MIB, 3: 32 * MIB}
    assert read_caches(tmp_path, threads=2) == {1: 64 * 1024, 2: 2 * MIB, 3: 32 * MIB}
    assert read_caches(tmp_path, threads=8) == {1: 96 * 1024, 2: 2 * MIB, 3: 32 * MIB}
    assert read_caches(tmp_path / "nothing", threads=1) == {}


def test_given_sizes_take_the_place_of_those_read() -> None:
    machine = MachineSettings(l2_mib=1, l3_mib=8).read(CPU)
    assert (machine.l2_bytes, machine.l3_bytes) == (MIB, 8 * MIB)
    assert [machine.level(size * MIB) for size in (0.5, 1, 1.5, 8, 9)] == ["L2", "L2", "L3", "L3", "memory"]
    assert Machine(None, None, None).level(1) == "memory"


def test_each_level_is_larger_than_the_one_before() -> None:
    with pytest.raises(ValueError, match="must not decrease"):
        MachineSettings(l2_mib=8, l3_mib=1)


@pytest.mark.parametrize("size", [0, -1, "big", math.nan])
def test_a_size_must_be_positive(size: object) -> None:
    with pytest.raises(ValueError, match=r"machine\.l2_mib="):
        MachineSettings(l2_mib=size)  # type: ignore[arg-type]


def test_ceilings_are_measured_once_for_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("segbench.measure.ceilings.REPETITIONS", 2)
    machine = Machine(32 * 1024, MIB, 4 * MIB)
    first = ceilings(machine, CPU, torch.float32)
    assert set(first.bandwidth) == {"L2", "L3", "memory"}
    assert all(math.isfinite(value) and value > 1e8 for value in first.bandwidth.values())
    assert first.peak_flops == max(first.matrix_flops, first.convolution_flops) > 1e8
    assert ceilings(machine, CPU, torch.float32) == first
    (path,) = tmp_path.glob("segbench/ceilings-*.json")
    path.write_text("{ half")
    again = ceilings(machine, CPU, torch.float32)
    assert again != first
    assert json.loads(path.read_text())["matrix_flops"] == again.matrix_flops
    assert ceilings(machine, CPU, torch.float32, remeasure=True) != again
    assert ceilings(machine, CPU, torch.float64) != again
    assert len(list(tmp_path.glob("segbench/ceilings-*.json"))) == 2


def test_ceilings_are_work_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that says a millisecond for every call, the rates are the work of a call in a millisecond."""
    monkeypatch.setattr("segbench.measure.ceilings.clock_for", lambda _: (lambda call, calls: (1.0,), ("ms",)))
    found = measure_ceilings(Machine(None, MIB, 4 * MIB), CPU, torch.float32)
    assert found.matrix_flops == pytest.approx(2 * 1024**3 * 1000)
    assert found.convolution_flops == pytest.approx(2 * 4 * 64 * 64 * 64 * 64 * 9 * 1000)
    assert found.bandwidth["memory"] == pytest.approx(16 * MIB * 1000, rel=1e-5)  # three arrays, four times the L3
    assert found.bandwidth["L2"] == found.bandwidth["L3"] == found.bandwidth["memory"]  # never slower than farther ones


def test_what_is_attainable_is_the_slower_of_bytes_and_arithmetic() -> None:
    limits = Ceilings({"L2": 100.0, "L3": 50.0, "memory": 10.0}, matrix_flops=1000.0, convolution_flops=500.0)
    assert limits.attainable_s(1000, 10, "L2") == 1.0
    assert limits.attainable_s(1000, 1000, "L2") == 10.0
    assert limits.attainable_s(0, 100, "memory") == 10.0


class Parts(nn.Module):
    """Parts at several depths, one of them shared, in a list, and one that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(2))
        self.unused = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in (*self.stages, self.stages[0]):
            x = stage(x)
        return x


def test_parts_at_a_depth() -> None:
    called = {"stem", "stages.0", "stages.1", "stages.0.0", "stages.0.1", "stages.1.0", "stages.1.1"}
    assert list(parts_at(Parts(), 1, called)) == ["stem", "stages.0", "stages.1"]  # what is not called is no part
    assert list(parts_at(Parts(), 2, called))[1:] == ["stages.0.0", "stages.0.1", "stages.1.0", "stages.1.1"]
    assert list(parts_at(nn.ReLU(), 1, set())) == []
    wrapped = nn.Sequential(Parts())
    assert "0.stem" in parts_at(wrapped, 1, {f"0.{name}" for name in called} | {"0"})


def test_parts_are_timed_on_their_own_inputs_as_shares_of_the_whole() -> None:
    module, x = Parts().eval(), torch.ones(1, 3, 64, 64)
    with torch.inference_mode():
        parts = {name: child for name, child in module.named_modules() if name in ("stem", "stages.0", "stages.1")}
        found = part_latencies(lambda: module(x), parts, budget_s=1.0, device=CPU, seed=0)
    assert [(part["path"], part["calls"]) for part in found] == [("stem", 1), ("stages.0", 2), ("stages.1", 1)]
    assert found[1]["share"] > 1.3 * found[2]["share"]  # called twice
    assert 0.7 < sum(part["share"] for part in found) < 1.3
    assert not any(part._forward_pre_hooks for part in module.modules())


def test_tables_add_up_to_the_metrics() -> None:
    module, x = segbench.build(["model=jeongwonnet", "block=dw", "channels=8"]), torch.ones(1, 3, 64, 64)
    with torch.inference_mode():
        trace = trace_step(lambda: module(x), module)
    rows = count_rows(trace, module, x)
    assert sum(row["macs_thop"] for row in rows) == macs_thop(module, x)
    assert sum(row["flops_torch"] for row in rows) == trace.product_flops
    assert sum(row["flops_audited"] for row in rows) == trace.flops
    notes = {row["module_type"]: row["note"] for row in rows}
    assert notes["BatchNorm2d"] == "thop counts what is no product; torch leaves out what is no product"
    top = module_rows(trace, module)[0]
    assert (top["path"], top["flops"], top["bytes_moved"]) == ("", trace.flops, trace.bytes_moved)
    assert top["peak_live_bytes"] <= trace.peak_bytes
    operators = [
        {
            "operator": operator.name,
            "flops": operator.flops,
            "product_flops": operator.product_flops,
            "working_set_bytes": operator.working_set_bytes,
        }
        for operator in trace.operators
    ]
    assert sum(kind["flops"] for kind in kind_rows(operators)) == trace.flops
    assert sum(macs_thop_by_module(module, x).values()) == macs_thop(module, x)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"depth": 0}, "analysis.depth=0"),
        ({"components_budget_s": 0}, "analysis.components_budget_s=0"),
        ({"memory_below": -1}, "analysis.memory_below=-1"),
        ({"compute_from": 5}, "analysis.compute_from=5"),
    ],
)
def test_bad_settings_are_refused(change: dict, said: str) -> None:
    settings = {"depth": 1, "components_budget_s": 1.0, "memory_below": 10, "compute_from": 50}
    with pytest.raises(ValueError, match=said):
        FullAnalysis(**(settings | change))


@pytest.mark.parametrize(
    "block",
    [
        block if block in ("dw", "chunk") else pytest.param(block, marks=pytest.mark.slow)
        for block in sorted(path.stem for path in (CONF_DIR / "block").glob("*.yaml"))
    ],
)
def test_every_block_can_be_analysed(block: str, tmp_path: Path) -> None:
    """Those that only move data or only look at it included."""
    overrides = [f"block={block}", "channels=8", "resolution=8", "analysis=full", *TINY]
    part = try_out([*overrides, "analysis.components_budget_s=0.05"])
    assert part.status == "ok", part.reason
    write(part.result.tables, part.result.metrics, tmp_path)
    console = Console(width=100, record=True, file=io.StringIO())
    print_analysis(tmp_path, part.result.metrics, console)
    assert "nan" not in console.export_text()


@pytest.mark.slow
def test_the_full_analysis_of_a_network(segbench_in: CommandLine, tmp_path: Path) -> None:
    notebook = ("machine.l2_mib=1", "machine.l3_mib=8", "analysis.components_budget_s=0.5")
    network = ("model=jeongwonnet", "block=dw", "resolution=64")
    done = segbench_in(*network, "analysis=full", *notebook, *TINY, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.split("Records:")[0].splitlines())) <= 100
    for title in ("Parts, each on its own inputs", "Counts by the type", "Working sets", "Attained:"):
        assert title in done.stdout
    (path,) = tmp_path.glob("outputs/adhoc/*/record.json")
    record = json.loads(path.read_text())
    metrics, folder = record["metrics"], path.parent / "analysis"
    assert {file.name for file in folder.iterdir()} == {
        "operators.csv",
        "kinds.csv",
        "modules.csv",
        "counts.csv",
        "components.csv",
        "roofline.png",
        "working_set.png",
        "breakdown.png",
    }
    operators = pd.read_csv(folder / "operators.csv")
    assert operators["flops"].sum() == metrics["flops/audited"]
    assert operators["working_set_bytes"].sum() == metrics["memory_bytes/moved"]
    assert set(operators["level"]) <= {"L2", "L3", "memory"}
    assert set(operators["bound"]) <= {"memory", "balanced", "compute"}
    assert (operators["bytes_read"] + operators["bytes_written"] == operators["working_set_bytes"]).all()
    assert operators["live_after_bytes"].max() == metrics["memory_bytes/peak_activation"]
    assert metrics["machine/l2_bytes"] == MIB
    assert metrics["roofline/attained_gflop_s"] == pytest.approx(
        metrics["flops/audited"] / metrics["latency_ms/median"] / 1e6
    )
    assert metrics["roofline/share"] == pytest.approx(metrics["roofline/attainable_ms"] / metrics["latency_ms/median"])
    assert metrics["memory_bytes/peak_activation_train"] > metrics["memory_bytes/peak_activation_deploy"]
    for plot in folder.glob("*.png"):
        assert plot.read_bytes()[:4] == b"\x89PNG"

    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("segbench").experiment_id])
    assert {file.path for file in client.list_artifacts(run.info.run_id, "analysis")} >= {
        "analysis/operators.csv",
        "analysis/roofline.png",
    }
