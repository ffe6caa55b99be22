"""A module and its input, in their form, on their device and in their precision, and the steps that they give."""

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, Self, TypeAlias

import torch
from torch import Tensor, nn

from segbench.base.checks import one_of
from segbench.blocks.deploy import switch_to_deploy
from segbench.step.training import TrainingStep, TrainStep, targets_for

FORMS = ("deploy", "train")
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
COPIED_BYTES = 64 * 2**20
"""Modules up to this size are copied for every batch of samples."""
LARGEST_GAP_BYTES = 2**16
Step: TypeAlias = Callable[[], Any]
"""One forward pass on a fixed input; to be called in `torch.inference_mode()`."""


@dataclass(frozen=True)
class Placed:
    """What an execution starts from.

    `autocast` is the type that operators are cast to on the way, `training` what a training step does, with its
    `targets`; `None` without.
    """

    module: nn.Module
    input: Tensor
    autocast: torch.dtype | None = None
    training: TrainStep | None = None
    targets: list[Tensor] = field(default_factory=list)

    @classmethod
    def on(
        cls, device: torch.device, dtype: torch.dtype, module: nn.Module, x: Tensor, memory_format: str = "contiguous"
    ) -> Self:
        """Move `module` itself and a copy of its input. `channels_last` concerns 4- and 5-dimensional tensors."""
        module, x = module.to(device=device, dtype=dtype), x.to(device=device, dtype=dtype, copy=True)
        if memory_format == "channels_last" and x.ndim in CHANNELS_LAST:
            layout = CHANNELS_LAST[x.ndim]
            module, x = _channels_last(module, layout), x.contiguous(memory_format=layout)
        return cls(module, x)

    def trained(self, training: TrainStep, seed: int) -> Self:
        """The same in a training step, with seeded targets."""
        return replace(self, training=training, targets=targets_for(self.module, self.input, seed))

    def step(self) -> Step:
        """The call without arguments: a forward pass, or a training step."""
        if self.training is not None:
            return TrainingStep(self.module, self.input, self.training, self.autocast, self.targets)
        if self.autocast is not None:
            return partial(_under_autocast, self.module, self.input, self.autocast)
        return partial(self.module, self.input)

    def fresh_step(self) -> Step:
        """The same on copies at other addresses; of a large module the input alone is copied."""
        with at_other_addresses():
            module = copy.deepcopy(self.module) if self.is_small() else self.module
            return replace(self, module=module, input=self.input.clone()).step()

    def is_small(self) -> bool:
        """Whether the module is small enough to be copied for every batch of samples."""
        return int(sum(tensor.nbytes for tensor in self.module.state_dict().values())) <= COPIED_BYTES


def _nothing_to_check() -> Callable[[], None]:
    return lambda: None


@dataclass(frozen=True)
class Execution:
    """A step that can be checked and timed.

    `fresh_step` makes a step for another batch of samples, on copies where they can be had. `output` calls the step and
    gives its result as tensors, where the step itself does not. `facts` are metrics of the first call. `tolerance`
    takes the place of the precision's. `start_check` is called before the timing; what it gives is called after it, and
    raises `GateError` where something happened in between that makes the samples worthless. `own_threads` says
    that the step computes on threads of its own: those of two pools on the same cores disturb each other for some
    milliseconds after a turn.
    """

    step: Step
    fresh_step: Callable[[], Step]
    output: Callable[[], Any]
    facts: Mapping[str, float] = field(default_factory=dict)
    tolerance: float | None = None
    start_check: Callable[[], Callable[[], None]] = _nothing_to_check
    own_threads: bool = False


class Engine(Protocol):
    """How a module runs; one class for each file in conf/execution."""

    def set_up(self, placed: Placed) -> Execution:
        """A step that can be checked and timed. `UnsupportedError` where this execution cannot serve."""
        ...


@contextmanager
def at_other_addresses() -> Iterator[None]:
    """What is allocated inside lies at other addresses than it would have: gaps of random size come before it."""
    gaps = [torch.empty(random.randrange(1, LARGEST_GAP_BYTES), dtype=torch.uint8) for _ in range(2)]
    yield
    del gaps


def _under_autocast(module: nn.Module, x: Tensor, dtype: torch.dtype) -> Any:
    with torch.autocast(x.device.type, dtype):
        return module(x)


def in_form(module: nn.Module, form: str) -> nn.Module:
    """A copy of `module` in eval mode and in the form `train` or `deploy`."""
    chosen = copy.deepcopy(module).eval()
    return switch_to_deploy(chosen) if one_of("form", form, FORMS) == "deploy" else chosen


def _channels_last(module: nn.Module, layout: torch.memory_format) -> nn.Module:
    for parameter in module.parameters():
        if parameter.ndim in CHANNELS_LAST and CHANNELS_LAST[parameter.ndim] is layout:
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return module
