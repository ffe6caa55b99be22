"""Truth before speed: what must hold of a module, its forms and its step before anything is timed."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook

from segbench.base.errors import GateError, NotAllowedError, one_line
from segbench.blocks.deploy import has_deploy_form
from segbench.measure.error import relative_error, tensors_in, train_deploy_error
from segbench.measure.result import Metrics
from segbench.point.task import Task
from segbench.step.device import out_of_memory
from segbench.step.placed import Execution, Placed, Step
from segbench.step.precision import set_float32_precision
from segbench.step.training import TrainingStep, first_losses, gradient_error

PHASE = ("phase", "train_step")


def require_usable(task: Task) -> None:
    """Raise `ValueError` where the module does not take the input, or gives nothing that could be verified."""
    set_float32_precision("ieee")
    module, x = task.module, task.input.clone()
    try:
        with torch.inference_mode():
            result = module(x)
    except (RuntimeError, AssertionError) as error:
        if out_of_memory(error):
            raise
        shape = " x ".join(map(str, x.shape))
        raise ValueError(f"the module does not take an input of {shape}: {one_line(error)}") from error
    if not tensors_in(result):
        raise ValueError(
            f"the module gives a {type(result).__name__}: it must give a tensor, or a tuple, list or dict of them"
        )
    if not torch.equal(x, task.input):
        raise ValueError("the module changes its input in place: every call would be measured on another one")
    if task.training is not None:
        _require_trainable(task)


def _require_trainable(task: Task) -> None:
    """Raise `ValueError` where the module cannot be trained as it is."""
    if not any(parameter.requires_grad for parameter in task.module.parameters()):
        raise NotAllowedError(*PHASE, "the module has no parameters to train")
    hook = register_module_forward_pre_hook(_require_variance)
    try:
        with torch.no_grad():
            result = copy.deepcopy(task.module).train()(task.input.clone())
    except NotAllowedError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        if out_of_memory(error):
            raise
        raise NotAllowedError(*PHASE, one_line(error)) from error
    finally:
        hook.remove()
    if not all(tensor.is_floating_point() for tensor in tensors_in(result)):
        raise NotAllowedError(*PHASE, "the module's results are not floating-point numbers")


def _require_variance(module: nn.Module, args: tuple[Any, ...]) -> None:
    """Raise `NotAllowedError` where a batch norm would have to take the variance of one value."""
    if isinstance(module, _BatchNorm) and isinstance(x := args[0], Tensor) and x.numel() == x.shape[1]:
        rule = (
            "a batch norm gets one value per channel, which has no variance; a larger batch_size or resolution may help"
        )
        raise NotAllowedError(*PHASE, rule)


def forms_agree(task: Task) -> Metrics:
    """Agreement of training and deploy form, where there are two; `GateError` outside the tolerance."""
    if not has_deploy_form(task.module):
        return {}
    error = train_deploy_error(task.module, task.input)
    if not error <= task.form_tolerance:
        raise GateError(f"training and deploy form differ by {error:.1e}, allowed is {task.form_tolerance:.0e}")
    return {"error/train_vs_deploy": error}


def verified(task: Task, placed: Placed) -> tuple[Execution, Metrics]:
    """The point as it will be timed; its error against eager float32, and what the first call cost.

    The reference is the training form's forward pass, or its first training steps: the results of the first, its
    gradient, and the losses that follow. Raises `GateError` outside a tolerance, with the same metrics.
    """
    set_float32_precision("ieee")
    reference_step = task.reference_step()
    reference = _result(reference_step)
    set_float32_precision(task.precision.fp32_precision)
    execution = task.execution.set_up(placed)
    allowed = task.precision.tolerance if execution.tolerance is None else execution.tolerance
    error = relative_error(_result(execution.step, execution.output), reference)
    metrics = dict(execution.facts) | _finite("error/vs_reference", error)
    if not error <= allowed:
        repeated = relative_error(_result(task.reference_step()), reference)
        if repeated > allowed:
            why = f"the module is not deterministic: two eager float32 runs differ by {repeated:.1e}"
        else:
            why = f"the output differs from the float32 reference by {error:.1e}, allowed is {allowed:.0e}"
        raise GateError(why, metrics)
    if isinstance(execution.step, TrainingStep) and isinstance(reference_step, TrainingStep):
        metrics |= _verified_training(task, execution.step, reference_step, metrics)
    return execution, metrics


def _verified_training(task: Task, step: TrainingStep, reference: TrainingStep, so_far: Metrics) -> Metrics:
    """Errors of the first gradient and of the losses; `GateError` outside the tolerances."""
    losses = relative_error(step.losses, reference.losses)
    gradient = gradient_error(step.gradient, reference.gradient)
    metrics = so_far | _finite("error/losses", losses) | _finite("error/gradient", gradient)
    allowed, allowed_gradient = task.precision.tolerance, task.precision.gradient_tolerance
    if not gradient <= allowed_gradient:
        raise GateError(
            f"the gradient differs from float32's by {gradient:.1e} of its length, allowed is {allowed_gradient:.0e}",
            metrics,
        )
    if not losses <= allowed:
        raise GateError(f"the losses differ from float32's by {losses:.1e}, allowed is {allowed:.0e}", metrics)
    return metrics


def _finite(name: str, error: float) -> Metrics:
    """A record holds finite numbers only."""
    return {name: error} if math.isfinite(error) else {}


def _result(step: Step, output: Callable[[], Any] | None = None) -> Any:
    """What is compared of a step: the results of the first training step, else its output."""
    if isinstance(step, TrainingStep):
        first_losses(step)
        return step.results
    return (output or step)()
