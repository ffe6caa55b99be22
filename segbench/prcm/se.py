"""PRCM_SE: an expanding squeeze-and-excitation gate. (N, C, H, W) -> the same shape.

x * sigmoid(linear(dropout(ReLU(linear(GAP(x)))))) with a hidden width of expansion * C.
Source: the PRCM expansion notebook. Parameters: 2 * expansion * C^2.
"""

from torch import Tensor, nn

from segbench.base.checks import positive_int, probability
from segbench.prcm.pooled_basis import per_channel


class ExpandedPool(nn.Module):
    """dropout(ReLU(linear(mean_HW(x)))). (N, C, H, W) -> (N, expansion * C)."""

    def __init__(self, channels: int, expansion: int, dropout: float) -> None:
        super().__init__()
        hidden = positive_int("channels", channels) * positive_int("expansion", expansion)
        self.expand = nn.Linear(channels, hidden, bias=False)
        self.dropout = nn.Dropout(probability("dropout", dropout))

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.dropout(self.expand(x.mean(dim=(2, 3))).relu())
        return hidden


class SEPRCM(nn.Module):
    """Scale every channel by a gate computed through a hidden layer of `expansion * channels`."""

    def __init__(self, channels: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.hidden = ExpandedPool(channels, expansion, dropout)
        self.gate = nn.Linear(expansion * channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * per_channel(self.gate(self.hidden(x)).sigmoid())
