"""decoder=fpn: Semantic FPN. Maps at strides 4, 8, 16, 32 -> (N, num_classes, H/4, W/4).

Lateral 1 x 1 convolutions to one width, top-down nearest resize and add, a 3 x 3 smoothing convolution on each level,
and on the finest level conv 3 x 3 -> BN -> ReLU -> conv 1 x 1. All convolutions have a bias. Only the finest level's
smoothing reaches the output; the others run as well, because the published parameters, MACs and latencies include them.
Source: Panoptic feature pyramid networks (Kirillov et al. 2019).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from segbench.base.checks import positive_int


class FPNDecoder(nn.Module):
    """Top-down pyramid of one width with a head on its finest level."""

    def __init__(self, channels: Sequence[int], num_classes: int, width: int) -> None:
        super().__init__()
        positive_int("decoder.head.width", width)
        self.lateral = nn.ModuleList([nn.Conv2d(c, width, kernel_size=1) for c in channels])
        self.smooth = nn.ModuleList([nn.Conv2d(width, width, kernel_size=3, padding=1) for _ in channels])
        self.head = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, num_classes, kernel_size=1),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        laterals = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        x = laterals[-1]
        levels = [x]
        for lateral in laterals[-2::-1]:
            x = lateral + functional.interpolate(x, size=lateral.shape[2:], mode="nearest")
            levels.append(x)
        smoothed = [smooth(level) for smooth, level in zip(self.smooth, levels[::-1], strict=True)]
        out: Tensor = self.head(smoothed[0])
        return out
