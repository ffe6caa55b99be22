"""One point: a composed configuration becomes a module, the module a step, the step a record."""

from __future__ import annotations

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
from segbench.checks import UnsupportedError, natural_int, one_of
from segbench.config import CONF_DIR, used_parameters
from segbench.deploy import has_deploy_form
from segbench.execute import FORMS, Execution, in_form, open_device, place, set_float32_precision
from segbench.inputs import make_input
from segbench.measure.activation import peak_activation_bytes
from segbench.measure.cuda_memory import cuda_peak_bytes
from segbench.measure.error import relative_error, train_deploy_error
from segbench.measure.flops_torch import flops_torch
from segbench.measure.latency import Samples, fixed_protocol
from segbench.measure.macs_thop import macs_thop
from segbench.measure.parameters import buffer_bytes, parameter_bytes, parameter_count, saved_bytes
from segbench.measure.statistics import summary
from segbench.record import Record, save
from segbench.track import SWEEP_OVERRIDE, TrackerError

Metrics = dict[str, float]
log = logging.getLogger(__name__)


class GateError(RuntimeError):
    """A point whose result must not be timed; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """How a point ended, small enough to travel back from another process."""

    status: str
    detail: str
    warning: str | None = None
    traceback: str | None = None


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
            module = instantiate(config.model)
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
    record, trace = measure_point(config, overrides, hydra.runtime.choices)
    save(record, folder)
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
        _measure(config, metrics, samples)
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


def _measure(config: DictConfig, metrics: Metrics, samples: Samples) -> None:
    """Fill `metrics` and `samples` in the order in which they are known, so that a failure keeps the first."""
    with _refusals():
        form = one_of("form", config.form, FORMS)
        device = open_device(**config.device)
        set_float32_precision(config.precision.fp32_precision)
        x = make_input(config.input.shape, config.batch_size, config.seed)
        module = build_module(config)
        with torch.inference_mode():
            module(x)
    metrics |= _forms_agree(module, x, config.precision.tolerance)
    chosen = in_form(module, form)
    metrics |= _sizes(module, chosen) | {"macs/thop": macs_thop(chosen, x), "flops/torch": flops_torch(chosen, x)}
    execution = place(chosen, x, device, getattr(torch, config.precision.dtype))
    with torch.inference_mode():
        metrics["error/vs_reference"] = _checked(execution, place(module, x, device, torch.float32), config.precision)
        del module
        metrics["memory_bytes/peak_activation"] = peak_activation_bytes(execution.step)
        if device.type == "cuda":
            metrics |= cuda_peak_bytes(execution.step)
        samples |= fixed_protocol(execution.step, device, **config.timing)
    metrics |= summary(samples["latency_ms"], config.batch_size)


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


def _checked(execution: Execution, reference: Execution, precision: DictConfig) -> float:
    """Error of the step against the eager float32 training form; `GateError` outside the precision's tolerance."""
    error = relative_error(execution.step(), reference.step())
    if not error <= precision.tolerance:
        raise GateError(
            f"the output differs from the float32 reference by {error:.1e}, allowed is {precision.tolerance:.0e}"
        )
    return error


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn the `ValueError`s of configuration, construction and the first call into `UnsupportedError`."""
    try:
        yield
    except UnsupportedError:
        raise
    except ValueError as error:
        raise UnsupportedError(_one_line(error)) from error


def _one_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    first = text.splitlines()[0]
    return first if isinstance(error, ValueError | GateError) else f"{type(error).__name__}: {first}"


def _plain(config: DictConfig, resolve: bool) -> dict[str, Any]:
    container = OmegaConf.to_container(config, resolve=resolve)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
