"""PRCM scale: x * sigmoid(linear(dropout(GAP(x) @ basis.T))). (N, C, H, W) -> the same shape.

Source: the PRCM of the JeongWonNet notebooks, called SimplePRCM in the FastSTM notebook.
Parameters: 2 * num_basis * C.
"""

from torch import Tensor, nn

from segbench.prcm.pooled_basis import PooledBasis, per_channel


class ScalePRCM(nn.Module):
    """Scale every channel by a gate computed from `num_basis` coefficients of the pooled map."""

    def __init__(self, channels: int, num_basis: int, dropout: float) -> None:
        super().__init__()
        self.coefficients = PooledBasis(channels, num_basis, dropout)
        self.gate = nn.Linear(num_basis, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * per_channel(self.gate(self.coefficients(x)).sigmoid())
