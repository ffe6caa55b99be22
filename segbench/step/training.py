"""phase=inference and phase=train_step; a training step is forward, loss, backward and optimiser in one call."""

import copy
import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from segbench.base.checks import one_of, positive_number, probability
from segbench.measure.error import tensors_in

COMPARED_LOSSES = 3


@dataclass(frozen=True)
class Inference:
    """phase=inference: a forward pass in eval mode."""

    step: str

    def __post_init__(self) -> None:
        one_of("phase.step", self.step, ["inference"])


@dataclass(frozen=True)
class TrainStep:
    """phase=train_step: stochastic gradient descent on a binary cross-entropy with seeded targets."""

    step: str
    learning_rate: float
    momentum: float

    def __post_init__(self) -> None:
        one_of("phase.step", self.step, ["train_step"])
        positive_number("phase.learning_rate", self.learning_rate)
        probability("phase.momentum", self.momentum)


class TrainingStep:
    """One optimiser step on a fixed input; calling it gives the loss.

    Every tensor of the module's result has a loss of its own, so deep supervision is trained as it is built; their mean
    is descended. Dropout is off (`without_dropout`): results can only be compared where nothing is left to chance.
    float16 autocast scales its loss.
    """

    def __init__(
        self, module: nn.Module, x: Tensor, training: TrainStep, autocast: torch.dtype | None, targets: list[Tensor]
    ) -> None:
        self.module, self.x, self.autocast = module, x, autocast
        self.device = x.device.type
        self.optimiser = torch.optim.SGD(module.parameters(), training.learning_rate, training.momentum)
        self.scaler = torch.amp.GradScaler(self.device, enabled=autocast is torch.float16)
        self.targets = targets
        self.losses: list[Tensor] = []
        """Of the first calls."""
        self.results: list[Tensor] = []
        self.gradient = torch.empty(0)
        """Results of the first forward pass, and the gradient of its loss over all parameters in a row."""

    def __call__(self) -> Tensor:
        self.optimiser.zero_grad(set_to_none=True)
        context = torch.autocast(self.device, self.autocast) if self.autocast else nullcontext()
        with context:
            results = tensors_in(self.module(self.x))
            losses = [
                functional.binary_cross_entropy_with_logits(result, target.to(result.dtype))
                for result, target in zip(results, self.targets, strict=True)
            ]
            loss = torch.stack(losses).mean()
        self.scaler.scale(loss).backward()
        if not self.losses:
            self.results = [result.detach().clone() for result in results]
            self.gradient = self._gradient()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if len(self.losses) < COMPARED_LOSSES:
            self.losses.append(loss.detach().clone())
        return loss.detach()

    def _gradient(self) -> Tensor:
        """What the optimiser is about to descend, in float32; parameters that the loss does not reach have zeros."""
        parts = [
            torch.zeros(parameter.numel(), device=self.x.device)
            if parameter.grad is None
            else parameter.grad.float().flatten() / self.scaler.get_scale()
            for group in self.optimiser.param_groups
            for parameter in group["params"]
        ]
        return torch.cat(parts)


def gradient_error(gradient: Tensor, reference: Tensor) -> float:
    """Length of the difference over the length of the reference gradient; infinite where it is not finite."""
    difference = float((gradient.double() - reference.double()).norm())
    length = float(reference.double().norm())
    if not math.isfinite(difference):
        return math.inf
    return difference / length if length > 0 else difference


def first_losses(step: TrainingStep) -> list[Tensor]:
    """The losses of the first steps, called as often as it takes: the second and third show the optimiser."""
    while len(step.losses) < COMPARED_LOSSES:
        step()
    return step.losses


def targets_for(module: nn.Module, x: Tensor, seed: int) -> list[Tensor]:
    """Zeros and ones in the shapes of the module's results, float32; the results are a copy's."""
    with torch.no_grad():
        results = tensors_in(copy.deepcopy(module)(x))
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 2, r.shape, generator=generator).to(x.device, torch.float32) for r in results]


def without_dropout(module: nn.Module) -> nn.Module:
    """Set the probability of every dropout and stochastic depth in `module` to 0, in place; returns it."""
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        elif isinstance(getattr(part, "drop_prob", None), float):
            setattr(part, "drop_prob", 0.0)  # noqa: B010  # timm's stochastic depth has the attribute, nn.Module not
    return module
