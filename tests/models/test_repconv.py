"""RepConv's two forms, for any geometry."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segbench.blocks.repconv import RepConv
from segbench.measure.error import randomise_norms, relative_error

geometries = st.tuples(
    st.sampled_from([1, 2, 3, 4]),  # groups
    st.integers(1, 3),  # input channels per group
    st.integers(1, 3),  # output channels per group
    st.sampled_from([1, 3, 5, 7]),  # kernel size
    st.sampled_from([1, 2]),  # stride
    st.booleans(),  # relu
)


def repconv(geometry: tuple) -> RepConv:
    groups, group_in, group_out, kernel_size, stride, relu = geometry
    module = RepConv(
        groups * group_out, kernel_size, in_channels=groups * group_in, groups=groups, stride=stride, relu=relu
    )
    return randomise_norms(module.double())


@given(geometries, st.integers(7, 12), st.integers(7, 12))
@settings(max_examples=60, deadline=None)
def test_both_forms_agree_in_double_precision(geometry: tuple, height: int, width: int) -> None:
    module = repconv(geometry).eval()
    x = torch.randn(2, module.in_channels, height, width, dtype=torch.float64)
    expected = module(x).detach()
    module.switch_to_deploy()
    assert relative_error(module(x), expected) < 1e-10
    assert expected.shape[2:] == (-(-height // module.stride), -(-width // module.stride))


@pytest.mark.parametrize(
    ("kernel_size", "stride", "in_channels", "branches"), [(7, 1, 8, 3), (7, 2, 8, 2), (7, 1, 4, 2), (1, 1, 8, 2)]
)
def test_branches_exist_where_they_are_defined(kernel_size: int, stride: int, in_channels: int, branches: int) -> None:
    assert len(RepConv(8, kernel_size, in_channels=in_channels, stride=stride).branches) == branches


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_switch_keeps_dtype_and_leaves_nothing_behind(dtype: torch.dtype) -> None:
    module = RepConv(6, 7, groups=6).to(dtype)
    module.switch_to_deploy()
    first = module.fused
    module.switch_to_deploy()
    assert module.fused is first
    assert [name for name, _ in module.named_parameters()] == ["fused.weight", "fused.bias"]
    assert all(p.dtype == dtype and p.is_leaf and p.requires_grad for p in module.parameters())
    assert not list(module.buffers())


def test_a_module_in_training_mode_folds_its_running_statistics() -> None:
    module = randomise_norms(RepConv(4, 3, groups=4).double())
    x = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    expected = module.eval()(x).detach()
    module.train().switch_to_deploy()
    assert module.training and module.fused.training
    assert relative_error(module(x), expected) < 1e-10


def test_frozen_parameters_stay_frozen() -> None:
    module = RepConv(4, 3).requires_grad_(False)
    module.switch_to_deploy()
    assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("kernel_size", [0, -1, 2, 4, 2.5, "7", True])
def test_kernel_sizes_are_odd(kernel_size: object) -> None:
    with pytest.raises(ValueError, match=f"kernel_size={kernel_size}"):
        RepConv(4, kernel_size)  # type: ignore[arg-type]  # the wrong types are the point
