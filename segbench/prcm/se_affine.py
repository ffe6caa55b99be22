"""PRCM_SE_Affine: x * alpha + beta through an expanded hidden layer. (N, C, H, W) -> the same shape.

hidden = dropout(ReLU(linear(GAP(x)))) of width expansion * C, alpha = sigmoid(linear(hidden)),
beta = linear(hidden). Source: the PRCM expansion notebook. Parameters: 3 * expansion * C^2.
"""

from torch import Tensor, nn

from segbench.prcm.pooled_basis import per_channel
from segbench.prcm.se import ExpandedPool


class SEAffinePRCM(nn.Module):
    """Scale and shift every channel by values computed through a hidden layer."""

    def __init__(self, channels: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.hidden = ExpandedPool(channels, expansion, dropout)
        self.scale = nn.Linear(expansion * channels, channels, bias=False)
        self.shift = nn.Linear(expansion * channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden(x)
        return x * per_channel(self.scale(hidden).sigmoid()) + per_channel(self.shift(hidden))
