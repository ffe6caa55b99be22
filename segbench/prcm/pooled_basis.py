"""The coefficients that `scale` and `affine` share: the pooled map, projected on learnable basis vectors."""

import torch
from torch import Tensor, nn

from segbench.base.checks import positive_int, probability


def new_basis(num_basis: int, channels: int) -> nn.Parameter:
    """Learnable basis vectors of shape (num_basis, channels), drawn from a standard normal."""
    return nn.Parameter(torch.randn(positive_int("num_basis", num_basis), positive_int("channels", channels)))


class PooledBasis(nn.Module):
    """dropout(mean_HW(x) @ basis.T). (N, C, H, W) -> (N, num_basis)."""

    def __init__(self, channels: int, num_basis: int, dropout: float) -> None:
        super().__init__()
        self.basis = new_basis(num_basis, channels)
        self.dropout = nn.Dropout(probability("dropout", dropout))

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = x.mean(dim=(2, 3))
        coefficients: Tensor = self.dropout(pooled @ self.basis.T)
        return coefficients


def per_channel(values: Tensor) -> Tensor:
    """(N, C) -> (N, C, 1, 1), to modulate a map channel by channel."""
    return values[:, :, None, None]
