"""One point: a composed configuration becomes a module, the module a step, the step a record."""

from __future__ import annotations

import copy
import logging
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from segbench import environment
from segbench.checks import UnsupportedError, natural_int, one_of, positive_int
from segbench.config import CONF_DIR, used_parameters
from segbench.deploy import has_deploy_form
from segbench.execute import (
    FORMS,
    FP32_PRECISIONS,
    dtype_named,
    in_form,
    open_device,
    place,
    set_float32_precision,
)
from segbench.inputs import make_input
from segbench.measure.activation import peak_activation_bytes
from segbench.measure.cuda_memory import cuda_peak_bytes
from segbench.measure.error import relative_error, train_deploy_error
from segbench.measure.flops_torch import flops_torch
from segbench.measure.latency import Samples, check_counts, fixed_protocol
from segbench.measure.macs_thop import macs_thop
from segbench.measure.parameters import buffer_bytes, parameter_bytes, parameter_count, saved_bytes
from segbench.measure.statistics import summary
from segbench.record import Record, save
from segbench.track import SWEEP_OVERRIDE, TrackerError

Metrics = dict[str, float]
log = logging.getLogger(__name__)
AXES = ("channels", "in_channels", "resolution", "batch_size")


class GateError(RuntimeError):
    """A point whose result must not be timed; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """How a point ended, small enough to travel back from another process."""

    status: str
    detail: str
    warning: str | None = None
    traceback: str | None = None
    unrecorded: bool = False


def build(overrides: list[str]) -> nn.Module:
    """See `segbench.build`."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("config", overrides)
    return build_module(config)


def build_module(config: DictConfig) -> nn.Module:
    """Build the configured module: seeded, training form, eval mode, CPU. `ValueError` where it cannot be built."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(natural_int("seed", config.seed))
        try:
            module = instantiate(config.model, _convert_="all")
        except InstantiationException as error:
            cause = error.__cause__
            raise (cause if isinstance(cause, ValueError) else error) from error
    assert isinstance(module, nn.Module)
    return module.eval()


def run(config: DictConfig) -> Outcome:
    """Measure the point that Hydra composed, write its record, and send it to the tracker."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    overrides = [override for override in hydra.overrides.task if not override.startswith(SWEEP_OVERRIDE)]
    try:
        record, trace = measure_point(config, overrides, hydra.runtime.choices)
        save(record, folder)
    except Exception as error:  # without a record this is the only word of the point
        return Outcome("failed", f"no record: {_one_line(error)}", None, traceback.format_exc(), unrecorded=True)
    detail = record.reason or f"{record.metrics['latency_ms/median']:.4g} ms"
    warning = None
    try:
        instantiate(config.tracker).log_point(record, folder)
    except TrackerError as error:
        warning = str(error)
        log.warning("not tracked: %s", error)
    return Outcome(record.status, detail, warning, trace)


def measure_point(config: DictConfig, overrides: list[str], choices: Mapping[str, Any]) -> tuple[Record, str | None]:
    """Measure one point; whatever goes wrong ends in the record's status and reason, and as a traceback."""
    started, clock = datetime.now(UTC), time.perf_counter()
    resolved = _plain(config, resolve=True)
    parameters = used_parameters(_plain(config, resolve=False), resolved, choices)  # instantiating resolves in place
    metrics: Metrics = {}
    samples: Samples = {}
    status, reason, trace = "ok", None, None
    try:
        with _refusals(parameters):
            task = _prepare(config, parameters)
        _measure(task, metrics, samples)
    except Exception as error:
        status = "unsupported" if isinstance(error, UnsupportedError) else "failed"
        reason, trace = _one_line(error), traceback.format_exc()
        log.info("%s: %s", status, trace)
    record = Record(
        status=status,
        reason=reason,
        overrides=overrides,
        parameters=parameters,
        config=resolved,
        environment=environment.describe(),
        metrics=metrics,
        samples=samples,
        started=started.isoformat(timespec="milliseconds"),
        duration_s=time.perf_counter() - clock,
    )
    return record, trace


@dataclass(frozen=True)
class Task:
    """A point that can be served: everything that measuring it needs, as plain values."""

    module: nn.Module
    input: Tensor
    form: str
    device: torch.device
    dtype: torch.dtype
    fp32_precision: str
    tolerance: float
    timing: dict[str, int]

    @property
    def batch_size(self) -> int:
        """Images, or volumes, in the input."""
        return self.input.shape[0]


def _prepare(config: DictConfig, parameters: Mapping[str, Any]) -> Task:
    """Check every value, build module and input, and call the module once. `ValueError` where something is refused."""
    for axis in AXES:
        if axis in parameters:
            positive_int(axis, parameters[axis])
    check_counts(**config.timing)
    precision = config.precision
    task = Task(
        module=build_module(config),
        input=make_input(list(config.input.shape), config.batch_size, config.seed),
        form=one_of("form", config.form, FORMS),
        device=open_device(**config.device),
        dtype=dtype_named(precision.dtype),
        fp32_precision=one_of("precision.fp32_precision", precision.fp32_precision, FP32_PRECISIONS),
        tolerance=precision.tolerance,
        timing=dict(config.timing),
    )
    set_float32_precision("ieee")
    with torch.inference_mode():
        task.module(task.input)
    return task


def _measure(task: Task, metrics: Metrics, samples: Samples) -> None:
    """Fill `metrics` and `samples` in the order in which they are known, so that a failure keeps the first."""
    metrics |= _forms_agree(task.module, task.input, task.tolerance)
    chosen = in_form(task.module, task.form)
    metrics |= {"macs/thop": macs_thop(chosen, task.input), "flops/torch": flops_torch(chosen, task.input)}
    with torch.inference_mode():
        reference = place(copy.deepcopy(task.module), task.input, task.device, torch.float32).step()
        execution = place(chosen, task.input, task.device, task.dtype)
        metrics |= _sizes(task.module, execution.module)
        set_float32_precision(task.fp32_precision)
        metrics["error/vs_reference"] = _checked(execution.step(), reference, task.tolerance)
        del reference
        metrics["memory_bytes/peak_activation"] = peak_activation_bytes(execution.step)
        if task.device.type == "cuda":
            metrics |= cuda_peak_bytes(execution.step)
        samples |= fixed_protocol(execution.step, task.device, **task.timing)
    for name, series in samples.items():
        metrics |= summary(name, series)
    metrics["throughput_img_s"] = 1000 * task.batch_size / metrics["latency_ms/median"]


def _forms_agree(module: nn.Module, x: Tensor, tolerance: float) -> Metrics:
    """Agreement of training and deploy form, where there are two; `GateError` outside the tolerance."""
    if not has_deploy_form(module):
        return {}
    error = train_deploy_error(module, x)
    if not error <= tolerance:
        raise GateError(f"training and deploy form differ by {error:.1e}, allowed is {tolerance:.0e}")
    return {"error/train_vs_deploy": error}


def _sizes(module: nn.Module, chosen: nn.Module) -> Metrics:
    """Parameters and bytes of both forms, and of the chosen one."""
    deployed = in_form(module, "deploy")
    return {
        "parameters/train": parameter_count(module),
        "parameters/deploy": parameter_count(deployed),
        "memory_bytes/parameters": parameter_bytes(chosen),
        "memory_bytes/parameters_train": parameter_bytes(module),
        "memory_bytes/parameters_deploy": parameter_bytes(deployed),
        "memory_bytes/buffers": buffer_bytes(chosen),
        "memory_bytes/saved": saved_bytes(chosen),
    }


def _checked(result: Any, reference: Any, tolerance: float) -> float:
    """Error of the step against the eager float32 training form; `GateError` outside the tolerance."""
    error = relative_error(result, reference)
    if not error <= tolerance:
        raise GateError(f"the output differs from the float32 reference by {error:.1e}, allowed is {tolerance:.0e}")
    return error


@contextmanager
def _refusals(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Turn the `ValueError`s of configuration, construction and the first call into `UnsupportedError`.

    Modules name their arguments (`num_basis=-1`); the user typed keys (`prcm.num_basis=-1`): the key is put in.
    """
    try:
        yield
    except ValueError as error:
        message = _one_line(error)
        name = message.partition("=")[0]
        keys = [key for key in parameters if key.rpartition(".")[2] == name]
        raise UnsupportedError(message.replace(name, keys[0], 1) if len(keys) == 1 else message) from error


def _one_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    first = text.splitlines()[0]
    return first if isinstance(error, ValueError | GateError) else f"{type(error).__name__}: {first}"


def _plain(config: DictConfig, resolve: bool) -> dict[str, Any]:
    container = OmegaConf.to_container(config, resolve=resolve)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
