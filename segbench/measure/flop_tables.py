"""FLOPs of the operators that have the same for every element, and names of those that are counted alike."""

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
