"""PRCM_BasisExpand: a gate from basis coefficients, expanded before the gate. (N, C, H, W) -> the same shape.

x * sigmoid(linear(dropout(ReLU(linear(GAP(x) @ basis.T))))); widths B -> expansion * B -> C.
No dropout on the coefficients themselves. Source: the PRCM expansion notebook.
Parameters: B * C + expansion * B^2 + expansion * B * C.
"""

from torch import Tensor, nn

from segbench.base.checks import positive_int, probability
from segbench.prcm.pooled_basis import new_basis, per_channel


class BasisExpandPRCM(nn.Module):
    """Scale every channel by a gate computed from `expansion * num_basis` hidden values."""

    def __init__(self, channels: int, num_basis: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.basis = new_basis(num_basis, channels)
        hidden = num_basis * positive_int("expansion", expansion)
        self.expand = nn.Linear(num_basis, hidden, bias=False)
        self.dropout = nn.Dropout(probability("dropout", dropout))
        self.gate = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        coefficients = x.mean(dim=(2, 3)) @ self.basis.T
        hidden = self.dropout(self.expand(coefficients).relu())
        return x * per_channel(self.gate(hidden).sigmoid())
