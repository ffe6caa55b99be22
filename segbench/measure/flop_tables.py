"""FLOPs of the operators that have the same for every element, and names of those that are counted alike."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _flops_of(names_by_flops: dict[int, str]) -> dict[str, int]:
    return {name: flops for flops, names in names_by_flops.items() for name in names.split()}


ELEMENTWISE = _flops_of(
    {
        1: "index_add scatter_add",
        2: "hardtanh leaky_relu _prelu_kernel addcmul addcdiv",
        3: "elu celu softplus lerp",
        4: "sigmoid hardsigmoid log_sigmoid_forward",
        5: "silu gelu glu mish hardswish",
    }
)
"""FLOPs for each element of the result; what PyTorch tags as pointwise and is not here takes 1."""

PER_INPUT = _flops_of(
    {
        1: "sum prod amax amin max min argmax argmin cumsum col2im",
        2: "linalg_vector_norm norm",
        4: "_weight_norm_interface logsumexp var std var_mean std_mean",
        5: "_softmax _log_softmax _safe_softmax",
    }
)
"""FLOPs for each element of the first argument. A variance: sum, subtract, square, sum."""

INTERPOLATION = {"upsample_linear1d": 3, "upsample_bilinear2d": 7, "upsample_trilinear3d": 15, "upsample_bicubic2d": 31}
"""FLOPs for each element of the result: as many products as neighbours, and their sum."""

MOVES = _names("""
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
""")

ATTENTION = _names("""
    _scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu
    _scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention
    _scaled_dot_product_fused_attention_overrideable
""")

BATCH_NORMS = _names("""
    native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
    _batch_norm_with_update _batch_norm_no_update
""")
