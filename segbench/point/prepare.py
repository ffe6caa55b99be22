"""A composed configuration becomes what is measured: a module, its input, and how both run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from hydra.errors import HydraException
from omegaconf import DictConfig
from torch import Tensor, nn

from segbench.base.checks import boolean, natural_int, one_of, positive_int, positive_number
from segbench.config.compose import composed, instantiated, plain
from segbench.config.explain import explain
from segbench.config.keys import Role, has_role, keys_with
from segbench.config.overrides import key_of, override
from segbench.measure.error import tensors_in
from segbench.measure.machine import read_machine
from segbench.point.analysis import NoAnalysis
from segbench.point.isolation import PointTimeoutError, ProcessDiedError
from segbench.point.measure import Task
from segbench.step.inputs import make_input
from segbench.step.placed import (
    FORMS,
    FP32_PRECISIONS,
    HALVES,
    GateError,
    dtype_named,
    open_device,
    require_precision,
    set_float32_precision,
)
from segbench.step.training import Training

LONGEST_REASON = 500
PHASES = ("inference", "train_step")


def build(overrides: list[str]) -> nn.Module:
    """See `segbench.build`."""
    return build_module(composed(overrides))


def build_module(config: DictConfig) -> nn.Module:
    """Build the configured module: seeded, training form, eval mode, CPU. `ValueError` where it cannot be built."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(natural_int("seed", config.seed))
        module = instantiated(config.model)
    assert isinstance(module, nn.Module)
    return module.eval()


def prepare(config: DictConfig, parameters: Mapping[str, Any]) -> Task:
    """Check every value, build module and input, and call the module once. `ValueError` where something is refused."""
    for axis in keys_with(Role.AXIS):
        if axis in parameters:
            positive_int(axis, parameters[axis])
    timing = instantiated(config.timing)
    precision = config.precision
    device = open_device(**plain(config.device, resolve=True))
    dtype = dtype_named(precision.dtype)
    autocast = None if precision.autocast is None else dtype_named(precision.autocast, "precision.autocast", HALVES)
    fp32_precision = one_of("precision.fp32_precision", precision.fp32_precision, FP32_PRECISIONS)
    require_precision(device, autocast or dtype, fp32_precision)
    training = _training(config)
    analysis = instantiated(config.analysis)
    if training is not None and not isinstance(analysis, NoAnalysis):
        raise ValueError("analysis=full is not allowed with phase=train_step: it takes a forward pass apart")
    sizes = plain(config.machine, resolve=True)
    remeasure = boolean("machine.remeasure", sizes.pop("remeasure"))
    task = Task(
        module=build_module(config),
        input=make_input(config.input.shape, config.batch_size, config.seed),
        form=one_of("form", config.form, FORMS),
        device=device,
        dtype=dtype,
        fp32_precision=fp32_precision,
        tolerance=positive_number("precision.tolerance", precision.tolerance),
        gradient_tolerance=positive_number("precision.gradient_tolerance", precision.gradient_tolerance),
        form_tolerance=positive_number("form_tolerance", config.form_tolerance),
        memory_format=config.device.memory_format,
        timing=timing,
        execution=instantiated(config.execution),
        autocast=autocast,
        training=training,
        analysis=analysis,
        machine=read_machine(device, **sizes),
        remeasure=remeasure,
        seed=config.seed,
    )
    _call_once(task)
    return task


def _training(config: DictConfig) -> Training | None:
    """What `phase=train_step` does, `None` for inference. `ValueError` for the deploy form."""
    phase = config.phase
    if one_of("phase.step", phase.step, PHASES) == "inference":
        return None
    if config.form != "train":
        raise ValueError(f"form={config.form} is not allowed with phase=train_step: use form=train")
    return Training(phase.learning_rate, phase.momentum, config.seed)


def _call_once(task: Task) -> None:
    """Raise `ValueError` where the module does not take the input, or gives nothing that could be verified."""
    set_float32_precision("ieee")
    try:
        with torch.inference_mode():
            x = task.input.clone()
            result = task.module(x)
    except (RuntimeError, AssertionError) as error:
        if out_of_memory(error):
            raise
        raise ValueError(f"the module does not take an input of {_shape(task.input)}: {one_line(error)}") from error
    if not tensors_in(result):
        raise ValueError(
            f"the module gives a {type(result).__name__}: it must give a tensor, or a tuple, list or dict of them"
        )
    if not torch.equal(x, task.input):
        raise ValueError("the module changes its input in place: every call would be measured on another one")
    if task.training is not None:
        _try_training(task)


def _try_training(task: Task) -> None:
    """Raise `ValueError` where the module cannot be trained as it is."""
    if not any(parameter.requires_grad for parameter in task.module.parameters()):
        raise ValueError("phase=train_step is not allowed: the module has no parameters to train")
    try:
        with torch.no_grad():
            result = copy.deepcopy(task.module).train()(task.input.clone())
    except (RuntimeError, ValueError, AssertionError) as error:
        if out_of_memory(error):
            raise
        hint = "; a larger batch_size or resolution may help" if "more than 1 value per channel" in str(error) else ""
        raise ValueError(f"phase=train_step is not allowed: {one_line(error)}{hint}") from error
    if not all(tensor.is_floating_point() for tensor in tensors_in(result)):
        raise ValueError("phase=train_step is not allowed: the module's results are not floating-point numbers")


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on an accelerator or on the host."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _shape(x: Tensor) -> str:
    return " x ".join(str(size) for size in x.shape)


def prepare_baseline(config: DictConfig, overrides: list[str], task: Task) -> Task | None:
    """The same point with the overrides of `baseline`, or `None` without one. `ValueError` names the baseline."""
    if config.baseline is None:
        return None
    if not isinstance(config.baseline, DictConfig):
        raise ValueError(f"baseline={config.baseline} is not allowed: it must be overrides, like baseline={{block:dw}}")
    changes = plain(config.baseline, resolve=True)
    shared = [key for key in changes if has_role(key, Role.SHARED)]
    if shared:
        raise ValueError(
            f"baseline={changes} is not allowed: {shared[0]} holds for the point and its baseline alike, because both "
            f"run in turns in one process"
        )
    typed = [o for o in overrides if key_of(o) != "baseline" and not _replaced(key_of(o), changes)]
    try:
        baseline = prepare(composed([*typed, *(override(key, value) for key, value in changes.items())]), {})
    except (HydraException, ValueError) as error:
        raise ValueError(f"baseline={changes} cannot be built: {explain(error)}") from error
    if baseline.fp32_precision != task.fp32_precision:
        raise ValueError(f"baseline={changes} is not allowed: both must compute float32 alike, in ieee or in tf32")
    if baseline.device.type != task.device.type:
        raise ValueError(f"baseline={changes} is not allowed: both must run on the same kind of device")
    return baseline


def _replaced(key: str, changes: Mapping[str, Any]) -> bool:
    """Whether a typed key gives way to the baseline's changes, an option with the execution or precision it is of."""
    mode = ("execution", "precision") if "mode" in changes else ()
    group = key.partition(".")[0]
    return key in changes or group in mode or (group in ("execution", "precision") and group in changes)


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if len(text) > LONGEST_REASON:
        text = text[: LONGEST_REASON - 3] + "..."
    return (
        text
        if isinstance(error, ValueError | GateError | ProcessDiedError | PointTimeoutError)
        else f"{type(error).__name__}: {text}"
    )
