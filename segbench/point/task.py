"""What is asked of a point: a configuration becomes a `Task`, every setting a checked object."""

import copy
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from segbench.base.checks import natural_int, one_of, positive_int, positive_number
from segbench.base.errors import NotAllowedError, UnsupportedError, one_line
from segbench.config.compose import CONFIGURATION_ERRORS, composed, instantiated, plain
from segbench.config.explain import explain
from segbench.config.keys import Role, has_role, keys_with
from segbench.config.overrides import key_of, override
from segbench.measure.latency import AdaptiveProtocol, FixedProtocol
from segbench.measure.machine import MachineSettings
from segbench.measure.operators import Trace
from segbench.measure.result import Result
from segbench.step.device import Device
from segbench.step.inputs import make_input
from segbench.step.placed import FORMS, Engine, Placed, Step
from segbench.step.precision import Precision
from segbench.step.training import Inference, TrainStep, without_dropout

GROUPS = ("device", "precision", "phase", "execution", "timing", "analysis", "machine")
"""Groups of settings; each is an object of the task."""
VALUES = ("model", "seed", "batch_size", "form", "form_tolerance", "baseline")


class Analysis(Protocol):
    """What a point adds to its own metrics; one class for each file in conf/analysis."""

    forward_only: ClassVar[bool]
    """Whether it cannot examine a training step."""

    def examine(self, task: "Task", placed: Placed, trace: Trace, latency_ms: float) -> Result:
        """Metrics and tables of a measured point."""
        ...


@dataclass(frozen=True)
class Task:
    """A point that is asked for, as conf/ describes it. Module and input are made when they are first used.

    `model` is the node that builds the module, `baseline` the overrides of the point beside it; `keys` are those that
    the point uses.
    """

    model: Mapping[str, Any]
    shape: Sequence[int]
    seed: int
    batch_size: int
    form: str
    form_tolerance: float
    baseline: Any
    keys: Collection[str]
    device: Device
    precision: Precision
    phase: Inference | TrainStep
    execution: Engine
    timing: AdaptiveProtocol | FixedProtocol
    analysis: Analysis
    machine: MachineSettings

    def __post_init__(self) -> None:
        natural_int("seed", self.seed)
        positive_int("batch_size", self.batch_size)
        one_of("form", self.form, FORMS)
        positive_number("form_tolerance", self.form_tolerance)
        if self.training is not None and self.form != "train":
            raise NotAllowedError("form", self.form, "use form=train", beside="phase=train_step")
        if self.training is not None and self.analysis.forward_only:
            raise NotAllowedError("analysis", "full", "it takes a forward pass apart", beside="phase=train_step")

    @property
    def training(self) -> TrainStep | None:
        """What a training step does; `None` for inference."""
        return self.phase if isinstance(self.phase, TrainStep) else None

    @cached_property
    def module(self) -> nn.Module:
        """The module: seeded, training form, eval mode, on the CPU."""
        return build_module(self.model, self.seed)

    @cached_property
    def input(self) -> Tensor:
        """The seeded input, on the CPU."""
        return make_input(self.shape, self.batch_size, self.seed)

    def placed(self, module: nn.Module) -> Placed:
        """`module`, in its form, where and how the point runs it; in training mode for a training step."""
        dtype, memory_format = self.precision.torch_dtype, self.device.memory_format
        module = module if self.training is None else without_dropout(module.train())
        found = Placed.on(self.device.torch_device, dtype, module, self.input, memory_format)
        return self._in_phase(replace(found, autocast=self.precision.autocast_dtype))

    def reference_step(self) -> Step:
        """The eager step in float32, training form, on the same weights and input."""
        module = copy.deepcopy(self.module)
        module = module if self.training is None else without_dropout(module.train())
        return self._in_phase(Placed.on(self.device.torch_device, torch.float32, module, self.input)).step()

    def _in_phase(self, placed: Placed) -> Placed:
        return placed if self.training is None else placed.trained(self.training, self.seed)

    def gradient_mode(self) -> AbstractContextManager[Any]:
        """What a step runs in: inference mode, or nothing for a training step."""
        return torch.inference_mode() if self.training is None else nullcontext()


def build(overrides: list[str]) -> nn.Module:
    """See `segbench.build`."""
    config = plain(composed(overrides), resolve=True)
    return build_module(config["model"], config["seed"])


def build_module(model: Mapping[str, Any], seed: int) -> nn.Module:
    """Build a module from its node: seeded, training form, eval mode, CPU. `ValueError` where it cannot be built."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(natural_int("seed", seed))
        module = instantiated({"model": model})["model"]
    assert isinstance(module, nn.Module)
    return module.eval()


def task_of(config: Mapping[str, Any], parameters: Mapping[str, Any]) -> Task:
    """The task of a resolved configuration, of which a point uses `parameters`. `ValueError` for a wrong setting."""
    for axis in keys_with(Role.AXIS):
        if axis in parameters:
            positive_int(axis, parameters[axis])
    settings = {group: _settings(group, json.dumps(config[group])) for group in GROUPS}
    values = {name: config[name] for name in VALUES}
    return Task(shape=config["input"]["shape"], keys=tuple(parameters), **values, **settings)


@lru_cache(maxsize=256)
def _settings(group: str, node: str) -> Any:
    """The object of a group's node, given as JSON. A sweep has few of them, and Hydra takes milliseconds for each."""
    return instantiated({group: json.loads(node)})[group]


def baseline_of(task: Task, overrides: Sequence[str]) -> Task | None:
    """The task of the same point with the overrides of `baseline`, or `None` without one.

    The two run in turns in one process, so what holds for a process is shared. Raises `ValueError` otherwise.
    """
    changes = task.baseline
    if changes is None:
        return None
    if not isinstance(changes, Mapping):
        raise NotAllowedError("baseline", changes, "it must be overrides, like baseline={block:dw}")
    if shared := [key for key in changes if has_role(key, Role.SHARED)]:
        rule = f"{shared[0]} holds for the point and its baseline alike, because both run in turns in one process"
        raise NotAllowedError("baseline", changes, rule)
    typed = [each for each in overrides if key_of(each) != "baseline" and not _replaced(key_of(each), changes)]
    changed = [override(key, value) for key, value in changes.items()]
    with naming_the_baseline(changes):
        baseline = task_of(plain(composed([*typed, *changed]), resolve=True), {})
    if baseline.precision.fp32_precision != task.precision.fp32_precision:
        raise NotAllowedError("baseline", changes, "both must compute float32 alike, in ieee or in tf32")
    if (baseline.device.type, baseline.device.index) != (task.device.type, task.device.index):
        raise NotAllowedError("baseline", changes, "both must run on the same device")
    return baseline


def _replaced(key: str, changes: Mapping[str, Any]) -> bool:
    """Whether a typed key gives way to the baseline's changes, an option with the execution or precision it is of."""
    mode = ("execution", "precision") if "mode" in changes else ()
    group = key.partition(".")[0]
    return key in changes or group in mode or (group in ("execution", "precision") and group in changes)


@contextmanager
def naming_the_baseline(changes: Any) -> Iterator[None]:
    """Say of an error that it concerns the baseline."""
    try:
        yield
    except (*CONFIGURATION_ERRORS, ValueError) as error:
        raise ValueError(f"baseline={changes} cannot be built: {explain(error)}") from error


@contextmanager
def refusals(keys: Collection[str]) -> Iterator[None]:
    """Turn the `ValueError`s of configuration, construction and the first call into `UnsupportedError`.

    Modules name their arguments (`num_basis=-1`), the user typed keys (`prcm.num_basis=-1`): the key is put in.
    """
    try:
        yield
    except NotAllowedError as error:
        typed = [key for key in keys if key.rpartition(".")[2] == error.name]
        raise UnsupportedError(one_line(error.renamed(typed[0]) if len(typed) == 1 else error)) from error
    except ValueError as error:
        raise UnsupportedError(one_line(error)) from error
