"""Every module against the numbers of its original implementation."""

import math

import pytest
import torch
from _pytest.mark import ParameterSet
from golden import Case, fill, golden_cases, golden_input, statistics, tables

import segbench
from segbench.blocks.deploy import switch_to_deploy
from segbench.measure.flops_torch import flops_torch
from segbench.measure.macs_thop import macs_thop
from segbench.measure.parameters import parameter_count

CASES = golden_cases()
MOST_QUICK_VALUES = 2**17
"""Of an input; larger ones, the volumes but for the smallest, take seconds."""


def marked(cases: list[Case]) -> list[ParameterSet]:
    """The cases as parameters; those that take seconds run with the slow tests."""
    slow = [math.prod(case.input) > MOST_QUICK_VALUES or case.params > 2e7 for case in cases]
    return [
        pytest.param(case, id=case.name, marks=pytest.mark.slow if is_slow else ())
        for case, is_slow in zip(cases, slow, strict=True)
    ]


def assert_close(found: dict, expected: dict) -> None:
    """Equal up to 1e-9 of the largest value of the output."""
    assert found["shape"] == expected["shape"]
    largest = max(abs(expected["min"]), abs(expected["max"]))
    for name in ("mean", "std", "min", "max"):
        assert found[name] == pytest.approx(expected[name], abs=1e-9 * largest), name
    assert found["first8"] == pytest.approx(expected["first8"], abs=1e-9 * largest)
    assert found["dot"] == pytest.approx(expected["dot"], abs=1e-9 * largest)


def test_all_cases_are_there() -> None:
    assert len(CASES) == 107


@pytest.mark.parametrize("case", marked(CASES))
def test_output_and_parameters_equal_the_original(case: Case) -> None:
    module = fill(segbench.build(case.overrides).double())
    x = golden_input(case.input)
    assert parameter_count(module) == case.params
    with torch.inference_mode():
        assert_close(statistics(module(x)), case.out)
        if case.deploy:
            switch_to_deploy(module)
            assert parameter_count(module) == case.deploy["params"]
            assert_close(statistics(module(x)), case.out)


@pytest.mark.parametrize("case", marked([case for case in CASES if case.thop_macs]))
def test_counts_equal_the_original(case: Case) -> None:
    module = segbench.build(case.overrides)
    x = torch.randn(case.count_input or case.input)
    assert macs_thop(module, x) == case.thop_macs
    assert flops_torch(module, x) == case.flop_counter
    if case.deploy and "thop_macs" in case.deploy:
        switch_to_deploy(module)
        assert macs_thop(module, x) == case.deploy["thop_macs"]
        assert flops_torch(module, x) == case.deploy["flop_counter"]


BLOCKS = {"DWBlock": "dw", "STMBlock": "stm", "FastSTMBlock": "faststm"}
ABLATION = tables()["block_ablation"]


@pytest.mark.parametrize("row", ABLATION["equal_channels"], ids=lambda row: str(row["ch"]))
@pytest.mark.parametrize("name", BLOCKS)
def test_parameters_of_the_block_ablation(row: dict, name: str) -> None:
    module = segbench.build([f"block={BLOCKS[name]}", f"channels={row['ch']}"])
    assert parameter_count(module) == row[name]["train"]
    assert parameter_count(switch_to_deploy(module)) == row[name]["deploy"]


@pytest.mark.parametrize("row", ABLATION["expansion_pairs"], ids=lambda row: str(row["pair"]))
@pytest.mark.parametrize("name", BLOCKS)
def test_parameters_of_the_expansion_pairs(row: dict, name: str) -> None:
    narrow, wide = row["pair"]
    module = segbench.build([f"block={BLOCKS[name]}", f"in_channels={narrow}", f"channels={wide}"])
    assert parameter_count(module) == row[name]["train"]
    assert parameter_count(switch_to_deploy(module)) == row[name]["deploy"]
