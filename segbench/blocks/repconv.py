"""RepConv: parallel branches in training, one convolution when deployed. (N, C_in, H, W) -> (N, C, H/s, W/s).

Training form, the sum of up to three branches and a ReLU: BN(conv k x k), BN(conv 1 x 1) where k > 1,
BN(x) where stride is 1 and C_in = C. Deploy form: one k x k convolution with bias.
Each batch norm folds into its kernel by gamma / sqrt(var + eps); the 1 x 1 kernel is zero-padded to
k x k and the identity is a centred delta. Source: RepVGG (Ding et al. 2021), as used by the DWBlock notebooks.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from segbench.base.checks import equal_width, odd_int, positive_int
from segbench.blocks.deploy import Deployable
from segbench.prcm import PRCMFactory


class RepConv(nn.Module):
    """A k x k convolution that trains as parallel branches; `switch_to_deploy` fuses them."""

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        *,
        in_channels: int | None = None,
        groups: int = 1,
        stride: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.channels = positive_int("channels", channels)
        self.in_channels = positive_int("in_channels", channels if in_channels is None else in_channels)
        self.kernel_size = odd_int("kernel_size", kernel_size)
        self.groups = positive_int("groups", groups)
        self.stride = positive_int("stride", stride)

        self.branches = nn.ModuleList([self._conv_bn(kernel_size)])
        if kernel_size > 1:
            self.branches.append(self._conv_bn(1))
        if stride == 1 and self.in_channels == channels:
            self.branches.append(nn.Sequential(nn.BatchNorm2d(channels)))
        self.activation = nn.ReLU() if relu else nn.Identity()

    def _conv_bn(self, kernel_size: int) -> nn.Sequential:
        return nn.Sequential(self._conv(kernel_size, bias=False), nn.BatchNorm2d(self.channels))

    def _conv(self, kernel_size: int, bias: bool) -> nn.Conv2d:
        return nn.Conv2d(
            self.in_channels,
            self.channels,
            kernel_size,
            stride=self.stride,
            padding=kernel_size // 2,
            groups=self.groups,
            bias=bias,
        )

    @property
    def is_deployed(self) -> bool:
        """Whether `switch_to_deploy` has been called."""
        return not hasattr(self, "branches")

    def forward(self, x: Tensor) -> Tensor:
        if self.is_deployed:
            total = self.fused(x)
        else:
            total = self.branches[0](x)
            for branch in self.branches[1:]:
                total = total + branch(x)
        out: Tensor = self.activation(total)
        return out

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Fuse the branches, by their running statistics, into one convolution. Idempotent.

        Keeps device, dtype, train/eval mode and whether parameters require gradients.
        """
        if self.is_deployed:
            return
        folded = [self._fold(branch) for branch in self.branches]
        with torch.random.fork_rng(devices=[]):  # the initial values are overwritten: leave the random state alone
            fused = self._conv(self.kernel_size, bias=True).to(folded[0][0])
        assert fused.bias is not None
        fused.weight.copy_(torch.stack([kernel for kernel, _ in folded]).sum(dim=0))
        fused.bias.copy_(torch.stack([bias for _, bias in folded]).sum(dim=0))
        fused.requires_grad_(next(self.branches.parameters()).requires_grad)
        del self.branches
        self.fused = fused.train(self.training)

    def _fold(self, branch: nn.Module) -> tuple[Tensor, Tensor]:
        """Kernel (C, C_in / groups, k, k) and bias (C,) of one branch with its batch norm."""
        *convs, norm = branch.children()
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        kernel = self._delta(norm.weight)
        if convs:
            assert isinstance(convs[0], nn.Conv2d)
            kernel = self._padded(convs[0].weight)
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return kernel * scale[:, None, None, None], norm.bias - norm.running_mean * scale

    def _padded(self, kernel: Tensor) -> Tensor:
        margin = (self.kernel_size - kernel.shape[-1]) // 2
        return functional.pad(kernel, [margin] * 4)

    def _delta(self, like: Tensor) -> Tensor:
        """The kernel of the identity: each output channel reads its own input channel, at the centre."""
        group_width = self.in_channels // self.groups
        kernel = like.new_zeros(self.channels, group_width, self.kernel_size, self.kernel_size)
        rows = torch.arange(self.channels, device=like.device)
        kernel[rows, rows % group_width, self.kernel_size // 2, self.kernel_size // 2] = 1
        return kernel


def depthwise_repconv(channels: int, kernel_size: int) -> RepConv:
    """RepConv with one group a channel, and ReLU, as all the blocks use it."""
    return RepConv(channels, kernel_size, groups=channels)


class RepConvBlock(Deployable):
    """block=repconv: depthwise RepConv with ReLU, then the PRCM (none by default)."""

    def __init__(self, channels: int, in_channels: int, kernel_size: int, prcm: PRCMFactory) -> None:
        super().__init__()
        equal_width("block=repconv", channels, in_channels)
        self.spatial = depthwise_repconv(channels, kernel_size)
        self.prcm = prcm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.prcm(self.spatial(x))
        return out
