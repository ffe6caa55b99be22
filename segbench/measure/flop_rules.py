"""FLOPs of one operator from the shapes it met.

One addition, subtraction, multiplication, division, comparison or elementary function (exp, tanh, sqrt, ...) of one
element is one FLOP; a multiply-accumulate is two. Moving, filling, padding and indexing are none. Functions made of
several count them all: a sigmoid is a negation, an exponential, an addition and a division. An operator without a rule
has no cost, `None`, which is something else than a cost of zero: the caller lists it by name.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from segbench.measure.flop_tables import ATTENTION, BATCH_NORMS, ELEMENTWISE, INTERPOLATION, MOVES, PER_INPUT


@dataclass(frozen=True)
class Cost:
    """FLOPs of multiply-accumulates in convolutions, matrix products and attention, and all others."""

    products: int = 0
    others: int = 0

    @property
    def flops(self) -> int:
        """Both together."""
        return self.products + self.others


FREE = Cost()
STATISTICS, NORMALISE = 4, 2
"""FLOPs for each element: mean and variance; subtract and scale (with the affine part folded in, where it can be)."""
PER_CHANNEL = 4
"""Scale and shift of a batch norm from its four vectors: add, inverse square root, two products."""


def cost(func: Any, args: Sequence[Any], out: Any) -> Cost | None:
    """FLOPs of one call of the ATen operator `func`; `None` where there is no rule for it."""
    name = base_name(func)
    if name in MOVES:
        return FREE
    result = first_tensor(out)
    if result is None or not _is_arithmetic(args, result):
        return FREE
    if rule := RULES.get(name):
        return rule(args, result)
    if name in ATTENTION:
        return _attention(args)
    if name in BATCH_NORMS:
        return _batch_norm(name, func, args)
    if name in PER_INPUT:
        return Cost(others=PER_INPUT[name] * args[0].numel())
    if name in INTERPOLATION:
        return Cost(others=INTERPOLATION[name] * result.numel())
    if name in ELEMENTWISE or torch.Tag.pointwise in func.tags:
        return Cost(others=ELEMENTWISE.get(name, 1) * result.numel())
    return None


def base_name(func: Any) -> str:
    """The operator's name without overload and without the underscore of in-place variants: `relu` for `relu_`."""
    name: str = func.overloadpacket.__name__
    return name if name.startswith("__") else name.removesuffix("_")


def first_tensor(values: Any) -> Tensor | None:
    """The first tensor among the leaves of `values`."""
    return next((leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)), None)


def _is_arithmetic(args: Sequence[Any], result: Tensor) -> bool:
    """Whether floating-point (or complex) numbers go in or come out; arithmetic on indices is not counted."""
    tensors = [result, *(leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor))]
    return any(tensor.is_floating_point() or tensor.is_complex() for tensor in tensors)


def _convolution(args: Sequence[Any], result: Tensor) -> Cost:
    x, weight, bias, transposed = args[0], args[1], args[2], args[6]
    positions = x if transposed else result  # each element meets the kernel once
    products = 2 * positions.numel() * weight.shape[1] * math.prod(weight.shape[2:])
    return Cost(products, result.numel() if bias is not None else 0)


def _product(args: Sequence[Any], result: Tensor) -> Cost:
    """mm, bmm, mv, dot: every element of the result sums over the inner dimension."""
    return Cost(2 * result.numel() * args[0].shape[-1])


def _added_product(args: Sequence[Any], result: Tensor) -> Cost:
    return Cost(2 * result.numel() * args[1].shape[-1], result.numel())


def _attention(args: Sequence[Any]) -> Cost:
    query, key, value = args[:3]
    scores = math.prod(query.shape[:-1]) * key.shape[-2]
    return Cost(2 * scores * (query.shape[-1] + value.shape[-1]), scores * (1 + PER_INPUT["_softmax"]))


def _batch_norm(name: str, func: Any, args: Sequence[Any]) -> Cost:
    x = args[0]
    names = [argument.name for argument in func._schema.arguments]
    training = bool(args[names.index("training")]) if "training" in names else name == "_batch_norm_with_update"
    per_element = NORMALISE + (STATISTICS if training else 0)
    return Cost(others=per_element * x.numel() + PER_CHANNEL * x.shape[1])


def _normalisation(affine_at: int) -> Callable[[Sequence[Any], Tensor], Cost]:
    """Of layer and group norm: the affine part's two vectors, each of which may be `None`, stand at `affine_at`."""

    def rule(args: Sequence[Any], result: Tensor) -> Cost:
        affine = sum(vector is not None for vector in args[affine_at : affine_at + 2])
        return Cost(others=(STATISTICS + NORMALISE + affine) * args[0].numel())

    return rule


def _rms_norm(args: Sequence[Any], result: Tensor) -> Cost:
    return Cost(others=(3 + (args[2] is not None)) * args[0].numel())


def _mean(args: Sequence[Any], result: Tensor) -> Cost:
    return Cost(others=args[0].numel() + result.numel())


def _clamp(args: Sequence[Any], result: Tensor) -> Cost:
    bounds = sum(bound is not None for bound in args[1:3])
    return Cost(others=bounds * result.numel())


def _pooling(dimensions: int, per_window: Callable[[int], int]) -> Callable[[Sequence[Any], Tensor], Cost]:
    def rule(args: Sequence[Any], result: Tensor) -> Cost:
        kernel = list(args[1]) if isinstance(args[1], Sequence) else [args[1]]
        window = math.prod(kernel) if len(kernel) == dimensions else kernel[0] ** dimensions
        return Cost(others=per_window(window) * result.numel())

    return rule


def _adaptive_pooling(dimensions: int, divides: bool) -> Callable[[Sequence[Any], Tensor], Cost]:
    def rule(args: Sequence[Any], result: Tensor) -> Cost:
        sizes = zip(args[0].shape[-dimensions:], result.shape[-dimensions:], strict=True)
        met = math.prod(sum(_window_sizes(before, after)) for before, after in sizes)
        others = met * math.prod(result.shape[:-dimensions])
        return Cost(others=others + (0 if divides else -result.numel()))

    return rule


def _window_sizes(before: int, after: int) -> list[int]:
    """Sizes of the windows of adaptive pooling from `before` to `after` positions; they may overlap."""
    return [-(-(i + 1) * before // after) - i * before // after for i in range(after)]


RULES: dict[str, Callable[[Sequence[Any], Tensor], Cost]] = {
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    **dict.fromkeys(("mm", "bmm", "mv", "dot"), _product),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), _added_product),
    "native_layer_norm": _normalisation(affine_at=2),
    "native_group_norm": _normalisation(affine_at=1),
    "_fused_rms_norm": _rms_norm,
    "mean": _mean,
    "clamp": _clamp,
    **{f"max_pool{n}d_with_indices": _pooling(n, lambda window: window - 1) for n in (2, 3)},
    **{f"avg_pool{n}d": _pooling(n, lambda window: window) for n in (1, 2, 3)},
    **{f"_adaptive_avg_pool{n}d": _adaptive_pooling(n, divides=True) for n in (2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive_pooling(n, divides=False) for n in (2, 3)},
}
