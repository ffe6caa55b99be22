"""Agreement of two results, and of the training and the deploy form."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from segbench.blocks.deploy import switch_to_deploy


def tensors_in(result: Any) -> list[Tensor]:
    """All tensors of a module's result, whatever its structure."""
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


def relative_error(result: Any, reference: Any) -> float:
    """Largest absolute difference over the largest absolute reference value, over all tensors, in float64.

    Infinite where the result has a value that is not finite, or is complex where the reference is not. Raises
    `ValueError` where shapes differ, where the reference is not finite, and where there is no tensor to compare.
    """
    if not tensors_in(reference):
        raise ValueError(f"a result of type {type(reference).__name__} holds no tensor that could be verified")
    count, expected_count = len(tensors_in(result)), len(tensors_in(reference))
    if count != expected_count:
        raise ValueError(f"the result has {count} tensors, the reference {expected_count}")
    pairs = list(zip(tensors_in(result), tensors_in(reference), strict=True))
    shapes = [(tuple(a.shape), tuple(b.shape)) for a, b in pairs]
    if any(found != expected for found, expected in shapes):
        raise ValueError(f"the result's shapes differ from the reference's: {shapes}")
    return max(_pair_error(_doubles(a), _doubles(b)) for a, b in pairs)


def _doubles(x: Tensor) -> Tensor:
    """In float64; of complex numbers both parts."""
    x = x.detach().resolve_conj()
    return torch.view_as_real(x).double() if x.is_complex() else x.double()


def _pair_error(result: Tensor, reference: Tensor) -> float:
    if not bool(torch.isfinite(reference).all()):
        raise ValueError("the float32 reference itself is not finite: there is nothing to compare with")
    if not bool(torch.isfinite(result).all()) or result.shape != reference.shape:
        return float("inf")
    largest = float(reference.abs().max())
    difference = float((result - reference).abs().max())
    return difference / largest if largest > 0 else difference


def train_deploy_error(module: nn.Module, x: Tensor) -> float:
    """Relative error between the training and the deploy form of copies of `module`, in the module's precision.

    Batch-norm statistics and affine parameters are randomised first: with the initial ones (mean 0,
    variance 1) a wrong fold would go unnoticed.
    """
    trained = randomise_norms(copy.deepcopy(module).eval())
    deployed = switch_to_deploy(copy.deepcopy(trained))
    with torch.inference_mode():
        return relative_error(deployed(x.clone()), trained(x.clone()))


def randomise_norms(module: nn.Module) -> nn.Module:
    """Give every batch norm random statistics, scale and shift (seeded), in place; returns `module`."""
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            for values, low, high in (
                (norm.running_mean, -0.5, 0.5),
                (norm.running_var, 0.5, 1.5),
                (norm.weight, 0.5, 1.5),
                (norm.bias, -0.5, 0.5),
            ):
                if values is not None:
                    values.detach().uniform_(low, high, generator=generator)
    return module
