"""Every network: structure, initialisation, both forms, and what PyTorch can do with it."""

import copy
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from golden import tables
from omegaconf import OmegaConf
from torch import nn

import segbench
from segbench.blocks.deploy import has_deploy_form, switch_to_deploy
from segbench.config.compose import CONF_DIR
from segbench.config.families import family_of
from segbench.measure.error import randomise_norms, relative_error, tensors_in
from segbench.measure.macs_thop import macs_thop
from segbench.measure.parameters import parameter_count
from segbench.step.placed import in_form

SMALL = {
    "block": (["channels=8"], (8, 16, 16)),
    "jeongwonnet": (["model.widths=[4,6,8,8,12,16]"], (3, 64, 64)),
    "cmunext": (["model.widths=[4,8,8,16,16]"], (3, 32, 32)),
    "cmunext_s": ([], (3, 32, 32)),
    "cmunext_l": (["model.widths=[4,8,8,16,16]"], (3, 32, 32)),
    "encoder": (["model.encoder=lcnet_050"], (3, 64, 64)),
    "segmenter": (["model.encoder=lcnet_050", "decoder=unet"], (3, 64, 64)),
    "segmenter-fpn": (["model.encoder=lcnet_050", "decoder=fpn"], (3, 64, 64)),
    "jeongwonnet-stm": (["block=stm", "model.widths=[4,6,8,8,12,16]", "model.deep_supervision=true"], (3, 64, 64)),
    "stunet_s": (["model.widths=[4,4,4,4,4,4]", "model.num_classes=3"], (1, 32, 32, 64)),
    "stunet_b": (["model.widths=[4,4,4,4,4,4]", "model.num_classes=3"], (1, 32, 32, 64)),
    "totalsegmentator": (["model.widths=[4,4,4,4,4,4]", "model.num_classes=3"], (1, 32, 32, 64)),
}


UNREACHED = re.compile(
    r"model=((stunet_\w/heads|totalsegmentator/net\.decoder\.seg_layers)\.[0-3]|segmenter/decoder\.smooth\.[1-3])\."
)
"""What counts as parameters and never reaches the output: heads of the 3D nets, smoothing convolutions of the FPN."""


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


CASES = [pytest.param([f"model={name.partition('-')[0]}", *SMALL[name][0]], SMALL[name][1], id=name) for name in SMALL]
CASES += [
    pytest.param([f"block={block}", "channels=8"], (8, 16, 16), id=f"block-{block}") for block in options("block")
]


def test_every_model_is_tested() -> None:
    assert {name.partition("-")[0] for name in SMALL} == set(options("model")) - {"custom"}


@pytest.mark.parametrize(("overrides", "shape"), CASES)
def test_state_dict_round_trip(overrides: list[str], shape: tuple[int, ...]) -> None:
    first, second = segbench.build([*overrides, "seed=1"]), segbench.build([*overrides, "seed=2"])
    second.load_state_dict(first.state_dict())
    x = torch.randn(2, *shape)
    with torch.inference_mode():
        assert relative_error(second(x), first(x)) == 0


@pytest.mark.parametrize(("overrides", "shape"), CASES)
def test_a_training_step_changes_every_parameter_that_reaches_the_output(
    overrides: list[str], shape: tuple[int, ...]
) -> None:
    module = segbench.build(overrides).train()
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    outputs = tensors_in(module(torch.randn(4, *shape, requires_grad=True)))
    sum(out.square().sum() for out in outputs).backward()
    torch.optim.SGD(module.parameters(), lr=1.0).step() if before else None
    unreached = {name for name, parameter in module.named_parameters() if parameter.grad is None}
    expected = {name for name in before if UNREACHED.match(f"{overrides[0]}/{name}")}
    assert unreached == expected
    assert all(
        not torch.equal(parameter, before[name])
        for name, parameter in module.named_parameters()
        if name not in expected
    )


@pytest.mark.slow
@pytest.mark.parametrize(("overrides", "shape"), CASES)
def test_graph_capture_gives_the_same_result(overrides: list[str], shape: tuple[int, ...]) -> None:
    module = segbench.build(overrides)
    x = torch.randn(2, *shape)
    with torch.no_grad():
        expected = module(x)
        torch._dynamo.reset()
        compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
        assert relative_error(compiled(x), expected) < 1e-5
        exported = torch.export.export(module, (x,)).module()
        assert relative_error(exported(x), expected) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("overrides", "shape"), CASES)
@pytest.mark.parametrize("form", ["train", "deploy"])
def test_half_precision(overrides: list[str], shape: tuple[int, ...], form: str) -> None:
    module = in_form(segbench.build(overrides), form)
    x = torch.randn(2, *shape)
    with torch.inference_mode():
        expected = module(x)
        out = module.to(torch.bfloat16)(x.to(torch.bfloat16))
        assert all(tensor.dtype == torch.bfloat16 for tensor in tensors_in(out))
        assert relative_error(out, expected) < 0.2


@pytest.mark.slow
def test_inductor_compiles_a_block() -> None:
    module = segbench.build(["block=faststm", "channels=8"])
    x = torch.randn(1, 8, 16, 16)
    with torch.inference_mode():
        assert relative_error(torch.compile(module)(x), module(x)) < 1e-5


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=jeongwonnet", "block=dw"],
        ["model=jeongwonnet", "block=stm"],
        ["model=jeongwonnet", "block=faststm", "prcm=se"],
        ["model=encoder", "model.encoder=mobileone_s0", "model.num_classes=3"],
        ["model=encoder", "model.encoder=repvgg_a0", "model.num_classes=3"],
        ["model=segmenter", "model.encoder=repvgg_a0", "decoder=fpn"],
    ],
    ids=lambda overrides: "-".join(overrides),
)
def test_both_forms_of_a_network_agree(overrides: list[str]) -> None:
    module = randomise_norms(segbench.build(overrides)).double()
    assert has_deploy_form(module)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        expected = module(x)
        deployed = switch_to_deploy(copy.deepcopy(module))
        assert parameter_count(deployed) < parameter_count(module)
        assert relative_error(deployed(x), expected) < 1e-10
        switch_to_deploy(deployed)
        assert relative_error(deployed(x), expected) < 1e-10


@pytest.mark.parametrize("block", ["dw", "stm", "faststm", "jeongwon", "cmunext", "conv_stem"])
def test_jeongwonnet_around_every_block_that_changes_its_width(block: str) -> None:
    module = segbench.build(["model=jeongwonnet", f"block={block}"])
    with torch.inference_mode():
        assert module(torch.randn(1, 3, 64, 96)).shape == (1, 1, 64, 96)
    widths = [6, 12, 18, 24, 32, 48] if block == "jeongwon" else [24, 48, 64, 96, 128, 192]
    assert module.head.in_channels == widths[0]


def test_jeongwonnet_supervises_its_decoder_deepest_first() -> None:
    module = segbench.build(["model=jeongwonnet", "model.deep_supervision=true", "model.num_classes=2"])
    assert [head.in_channels for head in module.heads] == [128, 96, 64, 48, 24]
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert module(x).shape == (2, 2, 64, 64)
        heads, out = module.train()(x)
    assert [tuple(head.shape) for head in heads] == [(2, 2, 64, 64)] * 5 and out.shape == (2, 2, 64, 64)


def test_only_stm_needs_a_stem() -> None:
    stems = {b: segbench.build(["model=jeongwonnet", f"block={b}"]).stem for b in ("dw", "stm", "faststm")}
    assert isinstance(stems["stm"], nn.Sequential)
    assert isinstance(stems["dw"], nn.Identity) and isinstance(stems["faststm"], nn.Identity)


def test_jeongwonnet_is_initialised_by_its_rule() -> None:
    module = segbench.build(["model=jeongwonnet", "block=dw", "model.deep_supervision=true"])
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and part.weight.numel() > 3000:
            fan_out = math.prod(part.kernel_size) * part.out_channels / part.groups
            assert part.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)
        elif isinstance(part, nn.Linear) and part.weight.numel() > 500:
            assert part.weight.std().item() == pytest.approx(0.02, rel=0.15)
        elif isinstance(part, nn.BatchNorm2d | nn.GroupNorm):
            assert bool((part.weight == 1).all()) and not part.bias.any()
        if isinstance(part, nn.Conv2d) and part.bias is not None:
            assert not part.bias.any()
    bases = torch.cat([p.flatten() for name, p in module.named_parameters() if name.endswith("basis")])
    assert bases.std().item() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    ("overrides", "shape", "words"),
    [
        (["model=jeongwonnet"], (3, 100, 64), "100 x 64 is not allowed: this network needs multiples of 32"),
        (["model=cmunext_s"], (3, 40, 40), "40 x 40 is not allowed: this network needs multiples of 16"),
        (["model=stunet_s"], (1, 32, 32, 32), "32 x 32 x 32 is not allowed: at stride 32 a single voxel is left"),
        (["model=totalsegmentator"], (1, 32, 32, 32), "a single voxel is left"),
        (
            ["model=totalsegmentator"],
            (1, 48, 32, 64),
            "48 x 32 x 64 is not allowed: this network needs multiples of 32",
        ),
    ],
    ids=str,
)
def test_sizes_that_a_network_cannot_halve(overrides: list[str], shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        segbench.build(overrides)(torch.zeros(1, *shape))


BLOCK_ROWS = tables()["block_comparison"]["rows"]


@pytest.mark.parametrize("row", BLOCK_ROWS, ids=lambda row: row["stage"])
@pytest.mark.parametrize("name", ["jeongwon", "cmunext"])
def test_the_block_comparison(row: dict, name: str) -> None:
    published = row[name]
    narrow, wide = published["channels"]
    options = [f"in_channels={narrow}", f"channels={wide}"]
    if name == "jeongwon":
        options.append("block=jeongwon")
    elif published["depth"] is None:
        options.append("block=conv_stem")
    else:
        options += [
            "block=cmunext",
            f"block.depth={published['depth']}",
            f"block.kernel_size={published['kernel_size']}",
        ]
    module = segbench.build(options)
    assert parameter_count(module) == published["params"]
    assert macs_thop(module, torch.randn(1, narrow, row["resolution"], row["resolution"])) == published["thop_macs"]


def test_totals_of_the_block_comparison() -> None:
    totals = tables()["block_comparison"]["total_params"]
    for name in ("jeongwon", "cmunext"):
        assert sum(row[name]["params"] for row in BLOCK_ROWS) == totals[name]


@pytest.mark.parametrize("row", tables()["prcm_expansion"]["adaptive_pool_size"], ids=lambda row: str(row["pool_size"]))
def test_parameters_of_the_adaptive_pool_sizes(row: dict) -> None:
    overrides = ["block=prcm", "prcm=adaptive_pool", f"prcm.pool_size={row['pool_size']}", "channels=64"]
    assert parameter_count(segbench.build(overrides)) == row["params"]


def test_encoder_comparison_widths() -> None:
    module = segbench.build(["model=cmunext", "model.widths=[8,16,24,32,48]"])
    rows = tables()["block_comparison"]["rows"]
    counts = [parameter_count(module.stem), *(parameter_count(stage) for stage in module.encoder)]
    assert counts == [row["cmunext"]["params"] for row in rows]


ENCODERS = tables()["encoder_benchmark"]["encoders"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if number % 8 == 0 else pytest.mark.slow) for number, name in enumerate(ENCODERS)],
)
def test_parameters_of_the_encoder_benchmark(name: str) -> None:
    published = ENCODERS[name]
    classifier = switch_to_deploy(segbench.build(["model=encoder", f"model.encoder={name}"]))
    assert parameter_count(classifier) == published["classifier_params"]
    for decoder in {"fpn", "unet"} & published.keys():
        module = switch_to_deploy(segbench.build(["model=segmenter", f"model.encoder={name}", f"decoder={decoder}"]))
        assert parameter_count(module) == published[decoder]["total_params"]
        assert parameter_count(module.encoder) == published[decoder]["encoder_params"]


@pytest.mark.parametrize(("model", "name"), [("stunet_s", "STU-Net-S"), ("totalsegmentator", "TotalSegmentator")])
def test_parameters_of_the_volumes(model: str, name: str) -> None:
    assert (
        parameter_count(segbench.build([f"model={model}"])) == tables()["encoder_benchmark"]["volumes"][name]["params"]
    )


PRCM_C64 = {
    "InvertedBottleneck e2": ["block=inverted_bottleneck"],
    "InvertedBottleneck e4": ["block=inverted_bottleneck", "block.expansion=4"],
    "InvertedBottleneckRes e2": ["block=inverted_bottleneck_res"],
    "PRCM": ["block=prcm"],
    "PRCM_SE e2": ["block=prcm", "prcm=se", "prcm.expansion=2"],
    "PRCM_SE e4": ["block=prcm", "prcm=se"],
    "PRCM_AdaptivePool p2 e2": ["block=prcm", "prcm=adaptive_pool"],
    "PRCM_AdaptivePool p4 e2": ["block=prcm", "prcm=adaptive_pool", "prcm.pool_size=4"],
    "PRCM_AdaptivePool p8 e2": ["block=prcm", "prcm=adaptive_pool", "prcm.pool_size=8"],
    "PRCM_BasisExpand b8 e4": ["block=prcm", "prcm=basis_expand"],
    "PRCM_SE_Affine e4": ["block=prcm", "prcm=se_affine"],
}


@pytest.mark.parametrize("name", tables()["prcm_expansion"]["params_c64"])
def test_parameters_of_the_prcm_expansion(name: str) -> None:
    module = segbench.build([*PRCM_C64[name], "channels=64"])
    assert parameter_count(module) == tables()["prcm_expansion"]["params_c64"][name]


@pytest.mark.parametrize("row", tables()["prcm_expansion"]["se_expansion"], ids=lambda row: str(row["expansion"]))
def test_parameters_of_the_se_expansion(row: dict) -> None:
    module = segbench.build(["block=prcm", "prcm=se", f"prcm.expansion={row['expansion']}", "channels=64"])
    assert parameter_count(module) == row["params"]


@pytest.mark.parametrize("decoder", [name for name in options("decoder") if name.startswith("smp_")])
def test_decoders_of_the_library(decoder: str) -> None:
    overrides = ["model=segmenter", "model.encoder=resnet18", f"decoder={decoder}", "model.num_classes=2"]
    module = segbench.build(overrides)
    with torch.inference_mode():
        assert module(torch.randn(1, 3, 128, 128)).shape == (1, 2, 128, 128)


def test_every_family_names_encoders_that_exist_and_is_recorded() -> None:
    import timm

    for path in sorted((CONF_DIR / "family").glob("*.yaml")):
        for encoder in OmegaConf.load(path).hydra.sweeper.params["model.encoder"].split(","):
            assert timm.is_model(encoder), encoder
            assert family_of(encoder) == path.stem
    assert family_of("mobilenetv4_conv_small.e2400_r224_in1k") == "mobilenetv4"
    assert family_of("lcnet_050") is None


@pytest.mark.parametrize("encoder", ["vit_tiny_patch16_224", "poolformer_s12", "edgenext_x_small", "densenet121"])
def test_encoders_of_other_kinds_run(encoder: str) -> None:
    with torch.inference_mode():
        assert segbench.build(["model=encoder", f"model.encoder={encoder}"])(torch.randn(1, 3, 64, 64)).shape == (
            1,
            1000,
        )


@pytest.mark.slow
def test_a_block_imports_no_encoder_library(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "sys.argv = ['segbench', 'block=dw', 'timing=quick', 'tracker=none']\n"
        "from segbench.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as done: assert not done.code\n"
        "names = ('timm', 'torchvision', 'dynamic_network_architectures', 'segmentation_models_pytorch', 'mlflow')\n"
        "print([name for name in names if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


OWN = """
from torch import nn

class MyNet(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        features = self.conv(x).relu()
        return {"mask": self.head(features), "features": [features]}
"""


class Sampler(nn.Linear):
    """Has a method that shares its name with timm's switch and does something else, as variational models do."""

    def reparameterize(self, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
        return mean + deviation


class Fusable(nn.Module):
    """Fuses once; a second call would fail."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Linear(2, 2)

    def reparameterize(self) -> None:
        del self.branch


class Outer(nn.Module):
    """Switches its part itself."""

    def __init__(self) -> None:
        super().__init__()
        self.part = Fusable()

    def switch_to_deploy(self) -> None:
        self.part.reparameterize()


def test_only_switches_are_taken_for_switches() -> None:
    assert not has_deploy_form(nn.Sequential(Sampler(2, 2)))
    assert switch_to_deploy(Sampler(2, 2)).weight.shape == (2, 2)
    assert not list(switch_to_deploy(nn.Sequential(Outer())).parameters()), "the part is switched, and once only"


@pytest.mark.parametrize("encoder", ["fastvit_t8", "repvit_m0_9"])
def test_encoders_that_fuse_are_fused_once(encoder: str) -> None:
    module = segbench.build(["model=encoder", f"model.encoder={encoder}"])
    before = parameter_count(module)
    assert parameter_count(switch_to_deploy(switch_to_deploy(module))) < before


def test_encoders_under_a_decoder_of_the_library_are_fused_too() -> None:
    module = segbench.build(["model=segmenter", "model.encoder=repvit_m0_9", "decoder=smp_fpn"])
    before = parameter_count(module)
    assert parameter_count(switch_to_deploy(module)) < before


def test_custom_modules_get_plain_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "listed.py").write_text(
        "from torch import nn\n"
        "class Widths(nn.Identity):\n"
        "    def __init__(self, widths, options):\n"
        "        assert type(widths) is list and type(options) is dict\n"
        "        super().__init__()\n"
    )
    monkeypatch.chdir(tmp_path)
    segbench.build(["model=custom", "model.target=listed.Widths", "model.kwargs={widths:[4,8],options:{a:1}}"])
    with pytest.raises(ValueError, match="listed has no Nope; its modules are Widths"):
        segbench.build(["model=custom", "model.target=listed.Nope"])


@pytest.mark.slow
def test_a_module_outside_the_repository_is_measured(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(OWN)
    arguments = ["model=custom", "model.target=my_models.MyNet", "model.kwargs={width: 32}", "input.shape=[3,40,24]"]
    quick = ["timing=fixed_20_100", "timing.warmup_calls=1", "timing.timed_calls=6", "tracker=none", "device.threads=1"]
    command = [sys.executable, str(ROOT / "run.py"), *arguments, *quick]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("outputs/**/record.json")
    record = json.loads(path.read_text())
    assert record["metrics"]["parameters/train"] == 3 * 32 * 9 + 32 + 33
    assert record["parameters"]["model.kwargs.width"] == 32
    assert record["parameters"]["input.shape"] == "[3, 40, 24]"
    assert "channels" not in record["parameters"] and "block" not in record["parameters"]
