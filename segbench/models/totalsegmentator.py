"""TotalSegmentator's network: nnU-Net's PlainConvUNet, from the package dynamic-network-architectures.

(N, in_channels, D, H, W) -> (N, num_classes, D, H, W). Two convolutions a stage in encoder and decoder, kernels 3^3,
strides 1 then 2, instance norm (affine, eps 1e-5), LeakyReLU, bias, no deep supervision. Source: TotalSegmentator
(Wasserthal et al. 2023) on nnU-Net (Isensee et al. 2021). D, H and W must be multiples of 32, the lowest level must
hold at least two voxels.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from segbench.base.checks import list_of_positive, multiple_of, positive_int, two_voxels

STAGES = 6
STRIDE = 32


class TotalSegmentator(nn.Module):
    """PlainConvUNet of given widths, one a stage, behind a check of the input's size."""

    def __init__(self, widths: Sequence[int], in_channels: int, num_classes: int) -> None:
        super().__init__()
        from dynamic_network_architectures.architectures.unet import PlainConvUNet

        widths = list_of_positive("model.widths", widths, STAGES)
        self.net = PlainConvUNet(
            input_channels=positive_int("in_channels", in_channels),
            n_stages=STAGES,
            features_per_stage=widths,
            conv_op=nn.Conv3d,
            kernel_sizes=3,
            strides=[1] + [2] * (STAGES - 1),
            n_conv_per_stage=2,
            num_classes=positive_int("model.num_classes", num_classes),
            n_conv_per_stage_decoder=2,
            conv_bias=True,
            norm_op=nn.InstanceNorm3d,
            norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
            deep_supervision=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        multiple_of(STRIDE, x.shape[2:])
        two_voxels(STRIDE, x.shape[2:])
        out: Tensor = self.net(x)
        return out
