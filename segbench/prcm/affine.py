"""AffinePRCM: x * alpha + beta, both from the pooled map's coefficients. (N, C, H, W) -> the same shape.

coefficients = dropout(GAP(x) @ basis.T), alpha = sigmoid(linear(coefficients)),
beta = linear(coefficients). Source: the STM notebook. Parameters: 3 * num_basis * C.
"""

from torch import Tensor, nn

from segbench.prcm.pooled_basis import PooledBasis, per_channel


class AffinePRCM(nn.Module):
    """Scale and shift every channel by values computed from `num_basis` coefficients."""

    def __init__(self, channels: int, num_basis: int, dropout: float) -> None:
        super().__init__()
        self.coefficients = PooledBasis(channels, num_basis, dropout)
        self.scale = nn.Linear(num_basis, channels, bias=False)
        self.shift = nn.Linear(num_basis, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        coefficients = self.coefficients(x)
        return x * per_channel(self.scale(coefficients).sigmoid()) + per_channel(self.shift(coefficients))
