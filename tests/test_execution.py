"""Precisions, executions and training steps: right ones are timed, wrong ones are refused with the figure."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import CommandLine
from doubles import TwoResults
from torch import nn
from torch.nn import functional

from segbench.runner import Part, attempt, composed
from segbench.training import Training, TrainingStep, first_losses, without_dropout

TINY = ["timing=fixed_20_100", "timing.warmup_calls=2", "timing.timed_calls=12", "device.threads=1"]
EXECUTIONS = ["compile", "onnxruntime", "onnxruntime_int8_dynamic", "onnxruntime_int8_static", "openvino"]


def tried(*overrides: str) -> Part:
    return attempt(composed([*overrides, *TINY]), list(overrides), {})


def double(name: str, *overrides: str) -> Part:
    return tried("model=custom", f"model.target=doubles.{name}", "input.shape=[3,16,16]", *overrides)


@pytest.mark.parametrize("execution", ["eager", *EXECUTIONS])
def test_a_sound_module_is_timed_in_every_execution(execution: str) -> None:
    part = double("Sound", f"execution={execution}")
    assert part.status == "ok", part.reason
    metrics = part.findings.metrics
    limit = 0.2 if "int8" in execution else 1e-5
    assert metrics["error/vs_reference"] <= limit
    assert metrics["error/vs_reference"] > 0 or execution == "eager" or execution == "onnxruntime"
    assert ("first_call/seconds" in metrics) == (execution != "eager")
    assert len(part.findings.samples["latency_ms"]) == 12


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_module_that_is_wrong_in_an_execution_is_refused_with_the_figure(execution: str) -> None:
    part = double("WrongWhereCompiled", f"execution={execution}")
    assert part.status == "failed"
    assert part.reason is not None and "differs from the float32 reference by 5." in part.reason
    assert part.findings.metrics["error/vs_reference"] == pytest.approx(0.5, abs=0.1)
    assert part.findings.samples == {}


@pytest.mark.parametrize("precision", ["bf16", "autocast_bf16"])
def test_a_module_that_is_wrong_in_a_precision_is_refused(precision: str) -> None:
    part = double("WrongWhereNotFloat32", f"precision={precision}")
    assert part.status == "failed"
    assert part.reason is not None and "differs from the float32 reference" in part.reason


def test_a_module_that_is_wrong_in_its_deploy_form_is_refused() -> None:
    part = double("WrongInDeployForm")
    assert part.status == "failed"
    assert part.reason is not None and "training and deploy form differ by 5.5e-01" in part.reason


@pytest.mark.parametrize("execution", ["compile", "onnxruntime"])
def test_results_that_are_not_finite_are_refused(execution: str) -> None:
    part = double("NotFinite", f"execution={execution}")
    assert part.status == "failed"
    assert part.reason is not None and "by inf" in part.reason


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


def test_openvino_sends_nothing() -> None:
    """The package that reports usage is installed with OpenVINO; running a module must not load it."""
    code = (
        "from segbench.runner import attempt, composed; import sys;"
        "part = attempt(composed(['execution=openvino', 'channels=8', 'resolution=16', *sys.argv[1:]]), [], {});"
        "print(part.status, bool(sys.modules.get('openvino_telemetry')))"
    )
    done = subprocess.run([sys.executable, "-c", code, *TINY], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["ok", "False"], done.stderr


def test_a_training_step_is_plain_sgd() -> None:
    """Two steps of a linear layer against the formula written out."""
    torch.manual_seed(0)
    layer, x = nn.Linear(3, 2), torch.randn(5, 3)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    step = TrainingStep(layer, x, Training(learning_rate=0.1, momentum=0.5, seed=7), None)
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
    step = TrainingStep(module, torch.ones(2, 3, 8, 8), Training(0.1, 0.9), None)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    first = first_losses(step)
    assert len(step.targets) == 2 and len(first) == 3
    assert all(not torch.equal(value, before[name]) for name, value in module.named_parameters())


@pytest.mark.parametrize("execution", ["eager", "compile"])
def test_a_training_step_is_a_point_like_any_other(execution: str) -> None:
    part = double("TwoResults", "phase=train_step", f"execution={execution}")
    assert part.status == "ok", part.reason
    assert part.findings.metrics["error/vs_reference"] < 1e-4
    assert part.findings.metrics["memory_bytes/peak_activation"] > 0
    inference = double("TwoResults")
    assert (
        part.findings.metrics["memory_bytes/peak_activation"]
        > inference.findings.metrics["memory_bytes/peak_activation"]
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


def test_volumes_have_an_equivalent_throughput() -> None:
    part = tried("model=stunet_s", "input.shape=[1,32,32,64]")
    assert part.status == "ok", part.reason
    metrics = part.findings.metrics
    assert metrics["throughput_equivalent_img_s"] == pytest.approx(metrics["throughput_img_s"] * 2 * 32**3 / 512**2)
    assert metrics["throughput_img_s_per_mparam"] == pytest.approx(
        metrics["throughput_img_s"] / (metrics["parameters/deploy"] / 1e6)
    )
