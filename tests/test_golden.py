"""Every module against the numbers of its original implementation."""

import pytest
import torch
from golden import Case, fill, golden_cases, golden_input, statistics

import segbench
from segbench.deploy import switch_to_deploy
from segbench.measure.flops_torch import flops_torch
from segbench.measure.macs_thop import macs_thop
from segbench.measure.parameters import parameter_count


def covered(case: Case) -> bool:
    return "model=block" in case.overrides and any(
        f"block={block}" in case.overrides for block in ("prcm", "repconv", "dw", "stm", "faststm")
    )


CASES = [case for case in golden_cases() if covered(case)]


def assert_close(found: dict, expected: dict) -> None:
    """Equal up to 1e-9 of the largest value of the output."""
    assert found["shape"] == expected["shape"]
    largest = max(abs(expected["min"]), abs(expected["max"]))
    for name in ("mean", "std", "min", "max"):
        assert found[name] == pytest.approx(expected[name], abs=1e-9 * largest), name
    assert found["first8"] == pytest.approx(expected["first8"], abs=1e-9 * largest)
    assert found["dot"] == pytest.approx(expected["dot"], abs=1e-9 * largest)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
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


@pytest.mark.parametrize("case", [case for case in CASES if case.thop_macs], ids=lambda case: case.name)
def test_counts_equal_the_original(case: Case) -> None:
    module = segbench.build(case.overrides)
    x = torch.randn(case.count_input or case.input)
    assert macs_thop(module, x) == case.thop_macs
    assert flops_torch(module, x) == case.flop_counter
    if case.deploy and "thop_macs" in case.deploy:
        switch_to_deploy(module)
        assert macs_thop(module, x) == case.deploy["thop_macs"]
        assert flops_torch(module, x) == case.deploy["flop_counter"]
