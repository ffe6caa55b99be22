"""Precisions, executions and training steps: right ones are timed, wrong ones are refused with the figure."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, CommandLine
from doubles import TwoResults
from torch import nn
from torch.nn import functional

from segbench.config.compose import composed, plain
from segbench.measure.session import Session
from segbench.point.entry import Attempt, measure_point, try_out, understand
from segbench.point.task import Task, baseline_of, task_of
from segbench.step.placed import in_form
from segbench.step.training import TrainingStep, TrainStep, first_losses, targets_for, without_dropout

SLOW = pytest.mark.slow
COMPILED_TRAINING = ["phase=train_step", "execution=compile"]
TINY = ["timing=fixed_20_100", "timing.warmup_calls=2", "timing.timed_calls=12", "device.threads=1"]
NEED_CUDA = {"cuda_graph", "compile_reduce_overhead"}
EXECUTIONS = sorted({path.stem for path in (ROOT / "conf/execution").glob("*.yaml")} - NEED_CUDA - {"eager"})
"""All that a processor has, but the reference itself."""


def slow(execution: str) -> object:
    """A case of the slow tests."""
    return pytest.param(execution, marks=pytest.mark.slow)


QUICKLY = [slow(name) if "compile" in name else name for name in EXECUTIONS]
"""All of them; the compiled ones are slow."""


def tried(*overrides: str) -> Attempt:
    return try_out([*TINY, *overrides])


def task(*overrides: str) -> Task:
    return task_of(plain(composed(list(overrides)), resolve=True), {})


def double(name: str, *overrides: str) -> Attempt:
    return tried("model=custom", f"model.target=doubles.{name}", "input.shape=[3,16,16]", *overrides)


@pytest.mark.parametrize("execution", ["eager", *QUICKLY])
def test_a_sound_module_is_timed_in_every_execution(execution: str) -> None:
    part = double("Sound", f"execution={execution}")
    assert part.status == "ok", part.reason
    metrics = part.result.metrics
    limit = 0.2 if "int8" in execution else 1e-5
    assert metrics["error/vs_reference"] <= limit
    assert metrics["error/vs_reference"] > 0 or execution == "eager" or execution == "onnxruntime"
    assert ("first_call/seconds" in metrics) == (execution != "eager")
    assert len(part.result.samples["latency_ms"]) == 12


@pytest.mark.parametrize("execution", [name if name == "onnxruntime" else slow(name) for name in EXECUTIONS])
def test_a_module_that_is_wrong_in_an_execution_is_refused_with_the_figure(execution: str) -> None:
    part = double("WrongWhereCompiled", f"execution={execution}")
    assert part.status == "failed"
    assert part.reason is not None and "differs from the float32 reference by" in part.reason
    assert part.result.metrics["error/vs_reference"] == pytest.approx(0.5, abs=0.1)
    assert part.result.samples == {}


@pytest.mark.parametrize("precision", ["bf16", "autocast_bf16"])
def test_a_module_that_is_wrong_in_a_precision_is_refused(precision: str) -> None:
    part = double("WrongWhereNotFloat32", f"precision={precision}")
    assert part.status == "failed"
    assert part.reason is not None and "differs from the float32 reference" in part.reason


def test_a_module_that_is_wrong_in_its_deploy_form_is_refused() -> None:
    part = double("WrongInDeployForm")
    assert part.status == "failed"
    assert part.reason is not None and "training and deploy form differ by 5.5e-01" in part.reason


@pytest.mark.parametrize("execution", [slow("compile"), "onnxruntime"])
def test_results_that_are_not_finite_are_refused(execution: str) -> None:
    part = double("NotFinite", f"execution={execution}")
    assert part.status == "failed"
    assert part.reason is not None and "by inf" in part.reason


@pytest.mark.parametrize(
    ("module", "overrides", "said"),
    [
        pytest.param("NeverCompiled", ["execution=compile"], "nothing of the module could be compiled", marks=SLOW),
        ("NoParameters", ["execution=onnxruntime_int8_static"], "no operator that can be quantised"),
        ("NoParameters", ["execution=onnxruntime_int8_dynamic"], "no operator that can be quantised"),
        ("NoParameters", ["phase=train_step"], "no parameters to train"),
        ("ChangesItsInput", [], "changes its input in place"),
        ("WrongImaginaryPart", ["phase=train_step"], "not floating-point numbers"),
    ],
)
def test_what_would_be_measured_as_something_else_is_unsupported(module: str, overrides: list[str], said: str) -> None:
    part = double(module, *overrides)
    assert part.status == "unsupported"
    assert part.reason is not None and said in part.reason


@pytest.mark.parametrize(
    ("module", "overrides", "said"),
    [
        ("NotFiniteEager", [], "the float32 reference itself is not finite"),
        ("WrongImaginaryPart", ["precision=bf16"], "differs from the float32 reference by 6."),
        ("Random", [], "not deterministic"),
        pytest.param("NoGradient", COMPILED_TRAINING, "the gradient differs from float32's by 1.0e+00", marks=SLOW),
        ("WrongWhereNotFloat32", ["baseline={precision:bf16}"], "the baseline: the output differs"),
        ("Sound", ["phase=train_step", "phase.learning_rate=1e38"], "not finite"),
    ],
)
def test_what_only_looks_right_is_refused(module: str, overrides: list[str], said: str) -> None:
    part = double(module, *overrides)
    assert part.status == "failed"
    assert part.reason is not None and said in part.reason


@pytest.mark.parametrize("execution", [slow("compile"), "onnxruntime", "openvino"])
def test_a_step_on_copies_gives_the_same_result(execution: str) -> None:
    """Every batch of samples is timed on copies: they must compute what the gate looked at."""
    asked = task("block=dw", "channels=8", "resolution=16", f"execution={execution}", *TINY)
    module = in_form(asked.module, "deploy")
    with torch.inference_mode():
        prepared = asked.execution.set_up(asked.placed(module))
        expected = prepared.output()
        prepared.fresh_step()()
        found = prepared.fresh_step()()
    if execution == "compile":
        assert torch.equal(found, expected)
    elif execution == "openvino":
        assert torch.equal(torch.from_numpy(next(iter(found.values()))), expected[0])


def test_steps_on_threads_of_their_own_settle_before_their_turn() -> None:
    """Beside eager calls ONNX Runtime's threads must find the cores free: see SETTLING_S."""
    calls: list[int] = []
    steps = [lambda: calls.append(0), lambda: calls.append(1)]
    session = Session(steps, torch.device("cpu"), random.Random(0), settling_s=0.002)
    session.round(batch=0)
    untimed = len(calls) - 2 * session.turn
    assert untimed > 20, "calls for 2 ms a turn, not one"


@pytest.mark.parametrize(
    ("overrides", "baseline", "execution", "precision"),
    [
        (["execution=onnxruntime"], "{mode:baseline}", "Eager", None),
        (["execution=onnxruntime_int8_static", "execution.tolerance=0.1"], "{execution:eager}", "Eager", None),
        (["precision=bf16"], "{mode:autocast}", "Eager", torch.bfloat16),
        (["mode=compile"], "{block:stm}", "Compiled", None),
    ],
)
def test_a_baseline_is_what_it_says(
    overrides: list[str], baseline: str, execution: str, precision: torch.dtype | None
) -> None:
    overrides = [*overrides, "channels=8", "resolution=16", f"baseline={baseline}"]
    found = baseline_of(task(*overrides), overrides)
    assert found is not None
    assert (type(found.execution).__name__, found.precision.autocast_dtype) == (execution, precision)


def test_a_mode_and_what_it_sets_contradict_each_other(tmp_path: Path) -> None:
    overrides = ["mode=compile", "execution=onnxruntime", "channels=8"]
    record, _ = measure_point(understand(composed(overrides), overrides, {}), tmp_path / "0")
    assert record.status == "unsupported"
    assert record.reason is not None and "execution=onnxruntime is not allowed beside mode=compile" in record.reason


@pytest.mark.slow
def test_a_point_that_is_compiled_again_while_it_is_timed_fails() -> None:
    part = double("CompiledAgain", "execution=compile")
    assert part.status == "failed"
    assert part.reason is not None and "compiled again" in part.reason


@pytest.mark.parametrize("execution", ["onnxruntime", "openvino"])
def test_an_operator_that_the_exporter_lacks_is_named_in_one_line(execution: str) -> None:
    part = double("NotExportable", f"execution={execution}")
    assert part.status == "unsupported"
    assert part.reason is not None and "cannot be exported" in part.reason and "\n" not in part.reason
    assert "eig" in part.reason


@pytest.mark.parametrize(
    ("execution", "module", "extra"), [("onnxruntime", "onnxruntime", "onnx"), ("openvino", "openvino", "openvino")]
)
def test_a_missing_extra_is_named(execution: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    part = double("Sound", f"execution={execution}")
    assert part.status == "unsupported"
    assert part.reason is not None and f"needs the extra `{extra}`" in part.reason


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["precision=tf32"], "precision=tf32 is not available on device=cpu"),
        (["execution=cuda_graph"], "execution=cuda_graph needs device=cuda"),
        (["execution=onnxruntime", "precision=bf16"], "runs float32 modules"),
        (["execution=openvino", "precision=autocast_bf16"], "runs float32 modules"),
        (["execution=onnxruntime", "phase=train_step"], "has no training steps"),
        (["phase=train_step", "form=deploy"], "form=deploy is not allowed with phase=train_step"),
        (["phase=train_step", "analysis=full"], "analysis=full is not allowed with phase=train_step"),
        (["phase=train_step", "baseline={phase:inference}"], "phase holds for the point and its baseline alike"),
        (["phase=train_step", "model=encoder", "batch_size=1"], "a larger batch_size or resolution may help"),
        (["memory_format=channels_last", "execution=onnxruntime"], "memory_format=channels_last is not available"),
        (["execution=compile_reduce_overhead"], "execution=compile_reduce_overhead needs device=cuda"),
        (["precision=autocast_bf16", "precision.autocast=float32"], "precision.autocast=float32"),
        (["phase=train_step", "phase.learning_rate=-1"], "phase.learning_rate=-1"),
        (["precision.autocast=int8"], "precision.autocast=int8"),
        (["precision.tolerance=0"], "precision.tolerance=0"),
        (["execution=compile", "execution.mode=fast"], "execution.mode=fast"),
    ],
)
def test_what_cannot_be_served_is_unsupported_with_its_reason(overrides: list[str], said: str) -> None:
    part = tried("block=dw", "channels=8", "resolution=16", *overrides)
    assert part.status == "unsupported"
    assert part.reason is not None and said in part.reason


@pytest.mark.skipif(torch.ops.mkldnn._is_mkldnn_fp16_supported(), reason="this processor has float16")
@pytest.mark.parametrize("precision", ["fp16", "autocast_fp16"])
def test_float16_is_refused_where_the_processor_has_none(precision: str) -> None:
    part = tried("block=dw", "channels=8", "resolution=16", f"precision={precision}")
    assert part.status == "unsupported"
    assert part.reason is not None and "float16 is not available on this processor" in part.reason


@pytest.mark.slow
def test_openvino_sends_nothing() -> None:
    """The package that reports usage is installed with OpenVINO; running a module must not load it."""
    code = (
        "from segbench.point.entry import try_out; import sys;"
        "part = try_out(['execution=openvino', 'channels=8', 'resolution=16', *sys.argv[1:]]);"
        "print(part.status, bool(sys.modules.get('openvino_telemetry')))"
    )
    done = subprocess.run([sys.executable, "-c", code, *TINY], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["ok", "False"], done.stderr


def test_a_training_step_is_plain_sgd() -> None:
    """Two steps of a linear layer against the formula written out."""
    torch.manual_seed(0)
    layer, x = nn.Linear(3, 2), torch.randn(5, 3)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    step = TrainingStep(layer, x, TrainStep("train_step", 0.1, 0.5), None, targets_for(layer, x, seed=7))
    target = torch.randint(0, 2, (5, 2), generator=torch.Generator().manual_seed(7)).float()
    assert torch.equal(step.targets[0], target)
    velocity = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for _ in range(2):
        logits = x @ weight.T + bias
        assert float(step()) == pytest.approx(float(functional.binary_cross_entropy_with_logits(logits, target)))
        error = (logits.sigmoid() - target) / target.numel()
        velocity = [0.5 * v + g for v, g in zip(velocity, (error.T @ x, error.sum(0)), strict=True)]
        weight, bias = weight - 0.1 * velocity[0], bias - 0.1 * velocity[1]
    assert torch.allclose(layer.weight, weight, atol=1e-6)
    assert torch.allclose(layer.bias, bias, atol=1e-6)


def test_deep_supervision_trains_every_result() -> None:
    module = without_dropout(TwoResults().train())
    x = torch.ones(2, 3, 8, 8)
    step = TrainingStep(module, x, TrainStep("train_step", 0.1, 0.9), None, targets_for(module, x, seed=0))
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    first = first_losses(step)
    assert len(step.targets) == 2 and len(first) == 3
    assert all(not torch.equal(value, before[name]) for name, value in module.named_parameters())


@pytest.mark.parametrize("execution", ["eager", slow("compile")])
def test_a_training_step_is_a_point_like_any_other(execution: str) -> None:
    part = double("TwoResults", "phase=train_step", f"execution={execution}")
    assert part.status == "ok", part.reason
    assert part.result.metrics["error/vs_reference"] < 1e-4
    assert part.result.metrics["memory_bytes/peak_activation"] > 0
    inference = double("TwoResults")
    assert (
        part.result.metrics["memory_bytes/peak_activation"] > inference.result.metrics["memory_bytes/peak_activation"]
    )


@pytest.mark.parametrize(
    ("mode", "dtype", "compiled"),
    [
        ("baseline", None, False),
        ("autocast", "bfloat16", False),
        ("compile", None, True),
        ("autocast_compile", "bfloat16", True),
    ],
)
def test_the_four_modes(mode: str, dtype: str | None, compiled: bool) -> None:
    config = composed(["model=encoder", "model.encoder=resnet18", f"mode={mode}"])
    assert config.precision.autocast == dtype
    assert ("compiled" in config.execution._target_) == compiled
    assert config.baseline == {"mode": "baseline"}


@pytest.mark.slow
def test_modes_in_a_sweep_have_speed_ups_and_errors(segbench_in: CommandLine, tmp_path: Path) -> None:
    done = segbench_in("-m", "channels=8", "resolution=16", "mode=baseline,autocast,compile,autocast_compile", *TINY)
    assert done.returncode == 0, done.stderr
    import pandas as pd

    (path,) = tmp_path.glob("outputs/adhoc/*/comparison.csv")
    table = pd.read_csv(path)
    assert list(table["mode"]) == ["baseline", "autocast", "compile", "autocast_compile"]
    assert table["ratio_to_baseline/median"].notna().all()
    assert (table["error/vs_reference"] < 0.05).all()
    assert table["first_call/seconds"].isna().tolist() == [True, True, False, False]
    assert "autocast_compile" in done.stdout


@pytest.mark.slow
def test_volumes_have_an_equivalent_throughput() -> None:
    part = tried("model=stunet_s", "model.widths=[4,8,8,8,8,8]", "input.shape=[1,32,32,64]")
    assert part.status == "ok", part.reason
    metrics = part.result.metrics
    assert metrics["throughput_equivalent_img_s"] == pytest.approx(metrics["throughput_img_s"] * 2 * 32**3 / 512**2)
    assert metrics["throughput_img_s_per_mparam"] == pytest.approx(
        metrics["throughput_img_s"] / (metrics["parameters/deploy"] / 1e6)
    )


@pytest.mark.parametrize(
    "network",
    [
        ["model=segmenter", "model.encoder=resnet18", "resolution=64"],
        ["model=stunet_s", "model.widths=[4,8,8,8,8,8]", "model.num_classes=3", "input.shape=[1,32,32,64]"],
        ["model=totalsegmentator", "model.widths=[4,8,8,8,8,8]", "model.num_classes=3", "input.shape=[1,32,32,64]"],
    ],
    ids=["segmenter", "stunet", "totalsegmentator"],
)
@pytest.mark.parametrize("mode", ["autocast", "autocast_compile"])
@pytest.mark.slow
def test_modes_of_whole_networks_have_a_speed_up_and_an_error(network: list[str], mode: str) -> None:
    """The other two modes are the baseline of these and, compiled in float32, a part of the last."""
    part = tried(*network, f"mode={mode}", "timing.warmup_calls=0", "timing.timed_calls=6")
    assert part.status == "ok", part.reason
    metrics = part.result.metrics
    assert metrics["ratio_to_baseline/ci95_low"] <= metrics["ratio_to_baseline/median"]
    assert 0 < metrics["error/vs_reference"] < 0.05
