"""The working-set notebook's byte counts, from shapes alone: float32, batch 1, bytes and FLOPs.

Plain formulas, kept because they were published; what operators really read and write can differ. The working set
counts the fused convolution's output twice, once as `fused_conv_output` and once as `output`, as the notebook does.
Source: the working-set notebook of the JeongWonNet family.
"""

from collections.abc import Sequence
from typing import Any

FLOAT_BYTES = 4
MIB = 2**20
REPCONV_TRAIN_MAPS, REPCONV_DEPLOY_MAPS = 7, 2
"""Maps that the notebook takes to be alive at once in either form."""


def map_bytes(channels: int, resolution: int) -> int:
    """Bytes of one feature map."""
    return channels * resolution**2 * FLOAT_BYTES


def feature_maps(widths: Sequence[int], resolution: int) -> dict[str, Any]:
    """Maps of the U-shape's encoder (after each pool) and decoder for an image of `resolution`."""
    stages = len(widths)
    halved = [resolution // 2 ** min(stage, stages - 1) for stage in range(1, stages + 1)]
    encoder = [_layer("encoder", n, *pair) for n, pair in enumerate(zip(widths, halved, strict=True), start=1)]
    back = zip(widths[-2::-1], halved[-2::-1], strict=True)
    decoder = [_layer("decoder", n, *pair) for n, pair in enumerate(back, start=1)]
    return {
        "encoder": encoder,
        "decoder": decoder,
        "encoder_total_bytes": sum(layer["bytes"] for layer in encoder),
        "decoder_total_bytes": sum(layer["bytes"] for layer in decoder),
    }


def _layer(part: str, number: int, channels: int, resolution: int) -> dict[str, Any]:
    elements = channels * resolution**2
    return {
        "layer": f"{part}{number}",
        "res": resolution,
        "ch": channels,
        "elements": elements,
        "bytes": elements * FLOAT_BYTES,
    }


def dw_working_set(
    in_channels: int, channels: int, resolution: int, kernel_size: int = 7, num_basis: int = 8
) -> dict[str, int]:
    """Bytes of everything a deployed DWBlock with a `scale` PRCM reads and writes, by name."""
    out = map_bytes(channels, resolution)
    return {
        "input": map_bytes(in_channels, resolution),
        "pw_conv_weights": in_channels * channels * FLOAT_BYTES,
        "pw_conv_output": out,
        "fused_conv_weights": channels * (kernel_size**2 + 1) * FLOAT_BYTES,
        "fused_conv_output": out,
        "prcm_params": 2 * num_basis * channels * FLOAT_BYTES,
        "prcm_intermediate": (2 * channels + num_basis) * FLOAT_BYTES,
        "output": out,
    }


def cache_level(total_bytes: int, l2_mib: float, l3_mib: float) -> str:
    """The smallest memory that holds so many bytes: L2, L3 or DRAM."""
    if total_bytes <= l2_mib * MIB:
        return "L2"
    return "L3" if total_bytes <= l3_mib * MIB else "DRAM"


def repconv_memory(channels: int, resolution: int) -> dict[str, float]:
    """Peak bytes of RepConv in both forms, counted in maps, and what re-parameterisation saves in percent."""
    one = map_bytes(channels, resolution)
    train, deploy = REPCONV_TRAIN_MAPS * one, REPCONV_DEPLOY_MAPS * one
    return {
        "fmap_bytes": one,
        "train_peak_bytes": train,
        "deploy_peak_bytes": deploy,
        "reduction_pct": 100 * (1 - deploy / train),
    }


def arithmetic_intensity(
    in_channels: int, channels: int, resolution: int, kernel_size: int = 7, num_basis: int = 8
) -> dict[str, tuple[int, int]]:
    """FLOPs and bytes moved by each part of the deployed DWBlock; their quotient is the arithmetic intensity."""
    pixels, out = resolution**2, map_bytes(channels, resolution)
    taps = channels * kernel_size**2
    pointwise = in_channels * channels
    return {
        "dw_conv": (2 * taps * pixels, 2 * out + taps * FLOAT_BYTES),
        "pw_conv": (2 * pointwise * pixels, map_bytes(in_channels, resolution) + out + pointwise * FLOAT_BYTES),
        "prcm": (2 * channels * pixels + 4 * channels * num_basis, 2 * out),
    }


def bound(intensity: float, memory_below: float = 10, compute_from: float = 50) -> str:
    """What limits a part of this intensity (FLOPs a byte): memory, balanced or compute."""
    if intensity < memory_below:
        return "memory"
    return "balanced" if intensity < compute_from else "compute"
