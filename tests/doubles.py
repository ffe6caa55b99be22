"""Modules that misbehave, for tests."""

import torch
from torch import Tensor, nn


class Sound(nn.Conv2d):
    """Right in every execution."""

    def __init__(self) -> None:
        super().__init__(3, 8, 3)


class WrongWhereCompiled(Sound):
    """Gives something else where it is compiled or exported."""

    def forward(self, x: Tensor) -> Tensor:
        factor = 1.5 if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export() else 1.0
        return factor * super().forward(x)


class WrongWhereNotFloat32(Sound):
    """Gives something else in any other precision."""

    def forward(self, x: Tensor) -> Tensor:
        result = super().forward(x)
        return result if result.dtype is torch.float32 else 1.5 * result


class WrongInDeployForm(Sound):
    """Its deploy form is another function."""

    def switch_to_deploy(self) -> None:
        with torch.no_grad():
            self.weight.mul_(1.5)


class NotFinite(Sound):
    """Divides by zero where it is compiled or exported."""

    def forward(self, x: Tensor) -> Tensor:
        result = super().forward(x)
        return result / torch.zeros(()) if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export() else result


class CompiledAgain(Sound):
    """Changes a number that compiled code depends on, again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) + 0 * self.calls


class NeverCompiled(Sound):
    """Keeps the compiler out."""

    @torch.compiler.disable
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class NoGradient(Sound):
    """Loses its gradients where it is compiled, and nothing else."""

    def forward(self, x: Tensor) -> Tensor:
        result = super().forward(x)
        return result.detach() + 0 * result if torch.compiler.is_compiling() else result


class NotFiniteEager(Sound):
    """Its second eager result holds a NaN."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        result = super().forward(x)
        return result, result if torch.compiler.is_compiling() else result / torch.zeros(())


class WrongImaginaryPart(Sound):
    """Its result is complex, and only the imaginary part is wrong in other precisions."""

    def forward(self, x: Tensor) -> Tensor:
        result = super().forward(x)
        factor = 1.0 if result.dtype is torch.float32 else 7.0
        return torch.complex(result.float(), factor * result.float())


class Random(Sound):
    """Something else at every call."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.rand(())


class ChangesItsInput(Sound):
    """Adds to its input in place."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.add_(1))


class NoParameters(nn.Module):
    """Nothing to train and nothing to quantise."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


class NotExportable(nn.Module):
    """Uses an operator that ONNX does not have, and that is always called."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x[:, :, :4, :4]).abs()


class TwoResults(nn.Module):
    """Deep supervision: two results in training mode, one in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head, self.side = nn.Conv2d(4, 1, 1), nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = self.drop(self.norm(self.body(x)).relu())
        return (self.head(y), self.side(y)) if self.training else self.head(y)
