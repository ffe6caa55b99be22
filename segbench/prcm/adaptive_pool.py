"""PRCM_AdaptivePool: a pooled map, mixed and resized back. (N, C, H, W) -> the same shape.

adaptive average pool to pool_size x pool_size (left out where H or W is smaller) -> conv1x1 C -> rC
-> ReLU -> channel dropout -> conv1x1 rC -> C -> bilinear resize to H x W, corners aligned.
The result is that map itself: it replaces x and does not modulate it.
Source: the PRCM expansion notebook. Parameters: 2 * expansion * C^2, whatever the pool size.
"""

from torch import Tensor, nn
from torch.nn import functional

from segbench.base.checks import positive_int, probability


class AdaptivePoolPRCM(nn.Module):
    """Replace the map by a coarse, channel-mixed version of itself."""

    def __init__(self, channels: int, pool_size: int, expansion: int, dropout: float) -> None:
        super().__init__()
        hidden = positive_int("channels", channels) * positive_int("expansion", expansion)
        self.pool_size = positive_int("pool_size", pool_size)
        self.expand = nn.Conv2d(channels, hidden, kernel_size=1, bias=False)
        self.dropout = nn.Dropout2d(probability("dropout", dropout))
        self.reduce = nn.Conv2d(hidden, channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if min(height, width) >= self.pool_size:
            x = functional.adaptive_avg_pool2d(x, self.pool_size)
        mixed = self.reduce(self.dropout(self.expand(x).relu()))
        return functional.interpolate(mixed, size=(height, width), mode="bilinear", align_corners=True)
