"""precision=fp32, bf16, ...: the types that a step computes in, and how far its result may be off."""

from dataclasses import dataclass
from typing import Any

import torch

from segbench.base.checks import one_of, positive_number
from segbench.base.errors import UnsupportedError

DTYPES = ("float32", "float64", "bfloat16", "float16")
AUTOCAST_DTYPES = ("bfloat16", "float16")
FP32_PRECISIONS = ("ieee", "tf32")
TF32_CAPABILITY = (8, 0)


@dataclass(frozen=True)
class Precision:
    """The settings of `precision`: the type of weights and input, and the type that autocast casts operators to.

    `fp32_precision` is what float32 convolutions and matrix products may be computed in. The tolerances are of the
    error against the float32 reference: relative to its largest value, and to the length of its gradient.
    """

    dtype: str
    fp32_precision: str
    autocast: str | None
    tolerance: float
    gradient_tolerance: float

    def __post_init__(self) -> None:
        one_of("precision.dtype", self.dtype, DTYPES)
        one_of("precision.fp32_precision", self.fp32_precision, FP32_PRECISIONS)
        if self.autocast is not None:
            one_of("precision.autocast", self.autocast, AUTOCAST_DTYPES)
        positive_number("precision.tolerance", self.tolerance)
        positive_number("precision.gradient_tolerance", self.gradient_tolerance)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type of weights and input."""
        return getattr(torch, self.dtype)  # type: ignore[no-any-return]  # checked to be the name of a type

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The type that autocast casts operators to; `None` without."""
        return None if self.autocast is None else getattr(torch, self.autocast)

    def require(self, device: torch.device) -> None:
        """Raise `UnsupportedError` where a device does not have the precision, or only pretends to."""
        if self.fp32_precision == "tf32" and device.type != "cuda":
            raise UnsupportedError(f"precision=tf32 is not available on device={device.type}: use device=cuda or fp32")
        if self.fp32_precision == "tf32" and torch.cuda.get_device_capability(device) < TF32_CAPABILITY:
            raise UnsupportedError(f"precision=tf32 is not available on {torch.cuda.get_device_name(device)}: use fp32")
        computed_in = self.autocast_dtype or self.torch_dtype
        if computed_in is torch.float16 and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
            raise UnsupportedError(
                "float16 is not available on this processor: it has no arithmetic for it; use bf16 or fp32"
            )


def set_float32_precision(fp32_precision: str) -> None:
    """Set what float32 convolutions and matrix products are computed in: `ieee` or `tf32`."""
    backends: Any = torch.backends  # newer than its type stubs
    backends.fp32_precision = one_of("precision.fp32_precision", fp32_precision, FP32_PRECISIONS)
