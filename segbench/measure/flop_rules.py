"""FLOPs of one operator from the shapes it met.

One addition, subtraction, multiplication, division, comparison or elementary function (exp, tanh, sqrt, ...) of one
element is one FLOP; a multiply-accumulate is two. Moving, filling, padding and indexing are none. Functions made of
several count them all: a sigmoid is a negation, an exponential, an addition and a division. An operator without a rule
has no cost, `None`, which is something else than a cost of zero: the caller lists it by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves


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

ELEMENTWISE = {
    "sigmoid": 4,
    "silu": 5,
    "gelu": 5,
    "glu": 5,
    "mish": 5,
    "hardsigmoid": 4,
    "hardswish": 5,
    "hardtanh": 2,
    "leaky_relu": 2,
    "elu": 3,
    "celu": 3,
    "_prelu_kernel": 2,
    "index_add": 1,
    "scatter_add": 1,
    "softplus": 3,
    "log_sigmoid_forward": 4,
    "addcmul": 2,
    "addcdiv": 2,
    "lerp": 3,
}
"""FLOPs for each element of the result; what PyTorch tags as pointwise and is not here takes 1."""

PER_INPUT = {
    "sum": 1,
    "prod": 1,
    "amax": 1,
    "amin": 1,
    "max": 1,
    "min": 1,
    "argmax": 1,
    "argmin": 1,
    "cumsum": 1,
    "col2im": 1,
    "_weight_norm_interface": 4,
    "linalg_vector_norm": 2,
    "norm": 2,
    "logsumexp": 4,
    "var": 4,
    "std": 4,
    "var_mean": 4,
    "std_mean": 4,
    "_softmax": 5,
    "_log_softmax": 5,
    "_safe_softmax": 5,
}
"""FLOPs for each element of the first argument. A variance: sum, subtract, square, sum."""

INTERPOLATION = {"upsample_linear1d": 3, "upsample_bilinear2d": 7, "upsample_trilinear3d": 15, "upsample_bicubic2d": 31}
"""FLOPs for each element of the result: as many products as neighbours, and their sum."""

_MOVES = """
    alias arange as_strided_copy as_strided_scatter bernoulli cat channel_shuffle clone constant_pad_nd copy detach
    diag_embed embedding empty empty_like empty_permuted empty_strided exponential eye fill flip full full_like gather
    im2col index index_put index_select lift_fresh lift_fresh_copy linspace masked_fill masked_scatter
    masked_select native_channel_shuffle new_empty new_empty_strided new_full new_ones new_zeros nonzero normal one_hot
    ones ones_like pixel_shuffle pixel_unshuffle rand rand_like randint randn randn_like randperm reflection_pad1d
    reflection_pad2d reflection_pad3d repeat replication_pad1d replication_pad2d replication_pad3d resize rot90 roll
    scalar_tensor scatter select_scatter set slice_scatter split_copy split_with_sizes_copy stack tril triu uniform
    unfold_copy upsample_nearest1d upsample_nearest2d upsample_nearest3d _local_scalar_dense _reshape_alias_copy
    _to_copy _unsafe_index _unsafe_index_put _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d where zero zeros zeros_like
"""
MOVES = frozenset(_MOVES.split())

_ATTENTION = """
    _scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu
    _scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention
    _scaled_dot_product_fused_attention_overrideable
"""
ATTENTION = frozenset(_ATTENTION.split())

_BATCH_NORMS = """
    native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
    _batch_norm_with_update _batch_norm_no_update
"""
BATCH_NORMS = frozenset(_BATCH_NORMS.split())
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


def _layer_norm(args: Sequence[Any], result: Tensor) -> Cost:
    affine = sum(vector is not None for vector in args[2:4])
    return Cost(others=(STATISTICS + NORMALISE + affine) * args[0].numel())


def _group_norm(args: Sequence[Any], result: Tensor) -> Cost:
    affine = sum(vector is not None for vector in args[1:3])
    return Cost(others=(STATISTICS + NORMALISE + affine) * args[0].numel())


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
    "convolution": _convolution,
    "_convolution": _convolution,
    "mm": _product,
    "bmm": _product,
    "mv": _product,
    "dot": _product,
    "addmm": _added_product,
    "baddbmm": _added_product,
    "addmv": _added_product,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "_fused_rms_norm": _rms_norm,
    "mean": _mean,
    "clamp": _clamp,
    "max_pool2d_with_indices": _pooling(2, lambda window: window - 1),
    "max_pool3d_with_indices": _pooling(3, lambda window: window - 1),
    "avg_pool1d": _pooling(1, lambda window: window),
    "avg_pool2d": _pooling(2, lambda window: window),
    "avg_pool3d": _pooling(3, lambda window: window),
    "_adaptive_avg_pool2d": _adaptive_pooling(2, divides=True),
    "_adaptive_avg_pool3d": _adaptive_pooling(3, divides=True),
    "adaptive_max_pool2d": _adaptive_pooling(2, divides=False),
    "adaptive_max_pool3d": _adaptive_pooling(3, divides=False),
}
