"""Everything in conf/: a file that is added is tested the day it appears."""

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

import segbench
from segbench.blocks.deploy import has_deploy_form, switch_to_deploy
from segbench.config.compose import CONF_DIR
from segbench.config.keys import Role, keys_with
from segbench.config.overrides import swept
from segbench.config.used import used_parameters
from segbench.measure.error import randomise_norms, relative_error
from segbench.step.placed import in_form
from segbench.sweep.studies import studies


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def parameters(*overrides: str) -> dict:
    """What a point of these overrides uses."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("config", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        choices = config.hydra.runtime.choices
        plain = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
        raw, resolved = (OmegaConf.to_container(plain, resolve=resolve) for resolve in (False, True))
    return used_parameters(raw, resolved, choices)


def takes_prcm(block: str) -> bool:
    return "prcm: ${prcm}" in (CONF_DIR / "block" / f"{block}.yaml").read_text()


BLOCKS = [block for block in options("block") if takes_prcm(block)]
PAIRS = [
    pytest.param(block, prcm, marks=() if block == "dw" or prcm == "affine" else pytest.mark.slow)
    for block, prcm in product(BLOCKS, options("prcm"))
]
"""Every block with every PRCM; each of them once in the quick tests."""
COMPONENTS = [block for block in options("block") if not takes_prcm(block)]


@pytest.mark.parametrize(("block", "prcm"), PAIRS)
@pytest.mark.parametrize("shape", [(2, 17, 13), (1, 8, 8)], ids=str)
def test_every_block_takes_every_prcm_in_both_forms(block: str, prcm: str, shape: tuple[int, ...]) -> None:
    module = randomise_norms(segbench.build([f"block={block}", f"prcm={prcm}", "channels=12"])).double()
    batch, height, width = shape
    x = torch.randn(batch, 12, height, width, dtype=torch.float64)
    with torch.inference_mode():
        reference = module(x)
        assert reference.shape == x.shape
        assert relative_error(in_form(module, "deploy")(x), reference) < 1e-10


@pytest.mark.parametrize(("block", "prcm"), [pair for pair in PAIRS if pair.values[0] in ("dw", "stm", "faststm")])
@pytest.mark.parametrize(("in_channels", "channels"), [(8, 12), (12, 8), (2, 6)])
def test_blocks_change_their_width(block: str, prcm: str, in_channels: int, channels: int) -> None:
    overrides = [f"block={block}", f"prcm={prcm}", f"in_channels={in_channels}", f"channels={channels}"]
    module = segbench.build(overrides)
    x = torch.randn(2, in_channels, 9, 7)
    with torch.inference_mode():
        expected = module(x)
        assert expected.shape == (2, channels, 9, 7)
        assert relative_error(in_form(module, "deploy")(x), expected) < 1e-4


@pytest.mark.parametrize("block", BLOCKS)
def test_single_precision_forms_agree(block: str) -> None:
    module = randomise_norms(segbench.build([f"block={block}", "channels=32"]))
    x = torch.randn(1, 32, 32, 32)
    with torch.inference_mode():
        assert relative_error(in_form(module, "deploy")(x), module(x)) < 1e-4


@pytest.mark.parametrize(("block", "prcm"), PAIRS)
def test_a_training_step_reaches_every_parameter(block: str, prcm: str) -> None:
    module = segbench.build([f"block={block}", f"prcm={prcm}", "channels=12"]).train()
    module(torch.randn(4, 12, 8, 8, requires_grad=True)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("block", COMPONENTS)
def test_components_keep_every_value_they_only_move(block: str) -> None:
    x = torch.randn(2, 12, 5, 7)
    with torch.inference_mode():
        out = segbench.build([f"block={block}", "channels=12"])(x)
    if block in ("chunk", "slice"):
        assert torch.equal(torch.cat(out, dim=1), x)
    elif block == "concatenate":
        assert torch.equal(out, x)
    elif block == "channel_shuffle":
        assert torch.equal(out[:, ::2], x[:, :6]) and torch.equal(out[:, 1::2], x[:, 6:])
    else:
        assert out.shape[1] == (6 if block == "repconv_half" else 12)
    assert "prcm" not in parameters(f"block={block}")


def test_each_block_brings_its_own_prcm() -> None:
    none = ("repconv", "inverted_bottleneck", "inverted_bottleneck_res", "cmunext", "conv_stem")
    expected = dict.fromkeys(none, "none") | dict.fromkeys(("dw", "faststm", "prcm"), "scale")
    expected |= {"stm": "affine", "jeongwon": "scale_two"}
    assert {block: parameters(f"block={block}")["prcm"] for block in expected} == expected


def test_the_command_line_wins_over_the_blocks_prcm() -> None:
    assert parameters("block=stm", "prcm=se")["prcm"] == "se"
    assert parameters("prcm=se", "block=stm")["prcm"] == "se"


def test_parameters_are_short_names_of_what_is_used() -> None:
    found = parameters("block=stm", "channels=24")
    assert list(found)[:4] == ["model", "block", "prcm", "channels"]
    assert found["channels"] == found["in_channels"] == 24
    assert found["block.kernel_size"] == 7
    assert found["prcm.num_basis"] == 8
    assert "tracker" not in found and "name" not in found


def test_a_choice_that_nothing_refers_to_is_left_out() -> None:
    raw = {"model": {"_target_": "x", "widths": [1, 2]}, "block": {"prcm": "${prcm}"}, "prcm": {"num_basis": 8}}
    raw |= dict.fromkeys((key for key in keys_with(Role.MEASURED) if key != "model"), 1)
    found = used_parameters(raw, raw, {"model": "own", "block": "dw", "prcm": "scale", "device": "cpu"})
    assert "block" not in found and "prcm" not in found
    assert found["model"] == "own"
    assert found["device"] == "cpu"


@pytest.mark.parametrize("study", studies())
def test_every_study_composes(study: str) -> None:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("config", [f"study={study}"], return_hydra_config=True)
        assert config.name == study
        assert {key: list(swept_values(key, text)) for key, text in config.hydra.sweeper.params.items()}


@pytest.mark.slow
@pytest.mark.parametrize("study", studies())
def test_every_choice_of_a_study_composes(study: str) -> None:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("config", [f"study={study}"], return_hydra_config=True)
        for axes in (config.hydra.sweeper.params, {**config.hydra.sweeper.params, **(config.short or {})}):
            values = {key: list(swept_values(key, text)) for key, text in axes.items()}
            first = {key: found[0] for key, found in values.items()}
            for key, found in values.items():
                for value in found if key in config.hydra.runtime.choices else found[:1]:  # plain values all compose
                    point = {**first, key: value}
                    compose("config", [f"study={study}", *(f"{k}={v}" for k, v in point.items())])


def swept_values(key: str, text: object) -> Iterator[str]:
    """The values that a study gives an axis, one for an axis that it only sets."""
    sweeps = swept([f"{key}={text}"])
    yield from sweeps[key].sweep_string_iterator() if key in sweeps else [str(text)]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["channels=0"], ["channels=0", "1 or more"]),
        (["channels=2.5"], ["channels=2.5", "integer"]),
        (["channels=many"], ["channels=many", "integer"]),
        (["block=stm", "channels=25"], ["channels=25", "even"]),
        (["block=stm", "channels=24", "in_channels=3"], ["in_channels=3", "even"]),
        (["block=faststm", "channels=1"], ["channels=1", "2 or more"]),
        (["prcm.num_basis=-1"], ["num_basis=-1", "1 or more"]),
        (["prcm.dropout=1.5"], ["dropout=1.5", "between 0 and 1"]),
        (["prcm=se", "prcm.expansion=0"], ["expansion=0", "1 or more"]),
        (["prcm=adaptive_pool", "prcm.pool_size=0"], ["pool_size=0", "1 or more"]),
        (["block.kernel_size=4"], ["kernel_size=4", "odd"]),
        (["block=repconv", "in_channels=3"], ["in_channels=3", "block=repconv", "equal"]),
        (["block=prcm", "in_channels=3"], ["in_channels=3", "block=prcm", "equal"]),
        (["seed=-1"], ["seed=-1", "0 or more"]),
        (["block=chunk", "channels=5"], ["channels=5", "even"]),
        (["block=mix", "in_channels=3"], ["in_channels=3", "equal"]),
        (["block=cmunext", "block.depth=0"], ["depth=0", "1 or more"]),
        (["model=jeongwonnet", "block=repconv"], ["block=repconv cannot change its width"]),
        (["model=jeongwonnet", "block=prcm"], ["block=prcm cannot change its width"]),
        (["model=jeongwonnet", "model.widths=[8,16]"], ["model.widths=[8, 16]", "6 values"]),
        (["model=jeongwonnet", "model.num_classes=0"], ["model.num_classes=0", "1 or more"]),
        (["model=cmunext", "model.depths=[1]"], ["model.depths=[1]", "5 values"]),
        (["model=encoder", "model.encoder=resnet81"], ["model.encoder=resnet81", "resnet18"]),
        (["model=segmenter", "model.encoder=vit_tiny_patch16_224"], ["strides [16, 16, 16]", "[4, 8, 16, 32]"]),
        (["model=segmenter", "model.encoder=convnext_tiny", "decoder=unet"], ["strides [4, 8, 16, 32]"]),
        (["model=custom"], ["model.target is needed"]),
        (["model=custom", "model.target=torch.nn.Linear"], ["torch.nn.Linear", "in_features"]),
        (["model=custom", "model.target=pathlib.Path"], ["PosixPath", "not an nn.Module"]),
        (["model=custom", "model.target=nowhere.Net"], ["nowhere.Net"]),
        (["model=custom", "model.target=os.system"], ["os.system", "blocklisted"]),
    ],
    ids=str,
)
def test_values_that_cannot_be_built_are_named_with_the_rule(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        segbench.build(overrides)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_building_leaves_the_random_state_alone_and_is_reproducible() -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first, second = segbench.build(["block=dw"]), segbench.build(["block=dw"])
    switch_to_deploy(first), switch_to_deploy(second)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert not segbench.build(["block=dw"]).training


def test_only_blocks_with_two_forms_offer_the_switch() -> None:
    two_forms = {block for block in options("block") if has_deploy_form(segbench.build([f"block={block}"]))}
    assert two_forms == {"dw", "stm", "faststm", "repconv", "repconv_half"}
