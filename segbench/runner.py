"""One point: a composed configuration becomes a module, the module a step, the step a record."""

from __future__ import annotations

import copy
import json
import logging
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue
from torch import Tensor, nn

from segbench import environment
from segbench.analysis import NoAnalysis
from segbench.checks import UnsupportedError, boolean, natural_int, one_of, positive_int, positive_number
from segbench.config import CONF_DIR, POINT_KEYS, family_of, hydra_value, unused_note, used_parameters
from segbench.execute import (
    FORMS,
    FP32_PRECISIONS,
    HALVES,
    GateError,
    dtype_named,
    forget_earlier_points,
    open_device,
    require_precision,
    set_float32_precision,
)
from segbench.explain import explain
from segbench.findings import Findings, combine
from segbench.inputs import make_input
from segbench.isolate import ProcessDiedError, in_fresh_process
from segbench.measure.error import tensors_in
from segbench.measure.machine import read_machine
from segbench.measure.statistics import FEWEST_PROCESSES
from segbench.point import Task, measure, measure_latency
from segbench.record import Record, save
from segbench.report.analysis import write as write_analysis
from segbench.track import SWEEP_OVERRIDE, TrackerError
from segbench.training import Training

log = logging.getLogger(__name__)
LONGEST_REASON = 500
ISOLATIONS = ("none", "process")
PHASES = ("inference", "train_step")
SHARED = ("device", "timing", "analysis", "machine", "isolation", "processes", "phase", "tracker")
"""Keys that a baseline cannot have values of its own for."""
PRESETS = ("stage", "variant", "mode")
"""Groups that only set keys of others; the point's parameters name the choice all the same."""
AXES = ("channels", "in_channels", "resolution", "batch_size")


@dataclass(frozen=True)
class Outcome:
    """How a point ended, small enough to travel back from another process."""

    status: str
    detail: str
    warning: str | None = None
    traceback: str | None = None
    unrecorded: bool = False
    note: str | None = None


def build(overrides: list[str]) -> nn.Module:
    """See `segbench.build`."""
    return build_module(composed(overrides))


def composed(overrides: list[str]) -> DictConfig:
    """The configuration of these overrides, whatever Hydra application runs around it."""
    application = GlobalHydra.instance()
    around, application.hydra = application.hydra, None
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            return compose("config", overrides)
    finally:
        application.hydra = around


def build_module(config: DictConfig) -> nn.Module:
    """Build the configured module: seeded, training form, eval mode, CPU. `ValueError` where it cannot be built."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(natural_int("seed", config.seed))
        module = _instantiated(config.model)
    assert isinstance(module, nn.Module)
    return module.eval()


def run(config: DictConfig) -> Outcome:
    """Measure the point that Hydra composed, write its record, and send it to the tracker."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    overrides = [override for override in hydra.overrides.task if not override.startswith(SWEEP_OVERRIDE)]
    try:
        measured = measure_point(config, overrides, hydra.runtime.choices, folder)
        record, trace = measured.record, measured.traceback
        save(record, folder)
    except Exception as error:  # without a record this is the only word of the point
        return Outcome("failed", f"no record: {_one_line(error)}", None, traceback.format_exc(), unrecorded=True)
    detail = record.reason or f"{record.metrics['latency_ms/median']:.4g} ms"
    warning = None
    if measured.tables:
        try:
            write_analysis(measured.tables, record.metrics, folder)
        except (OSError, ValueError) as error:
            warning = f"the analysis is not written: {_one_line(error)}"
            log.warning("%s: %s", warning, traceback.format_exc())
    try:
        instantiate(config.tracker).log_point(record, folder)
    except TrackerError as error:
        warning = str(error)
        log.warning("not tracked: %s", error)
    note = unused_note(overrides, record.parameters)
    return Outcome(record.status, detail, warning, trace, note=note)


@dataclass
class Part:
    """What one process found, and where it ran; a reason and a traceback where it did not end `ok`."""

    findings: Findings
    environment: dict[str, Any]
    status: str = "ok"
    reason: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class Measured:
    """A point's record, the tables of its analysis, and a traceback where it did not end `ok`."""

    record: Record
    tables: dict[str, list[dict[str, Any]]]
    traceback: str | None


def measure_point(config: DictConfig, overrides: list[str], choices: Mapping[str, Any], folder: Path) -> Measured:
    """Measure one point; whatever goes wrong ends in the record's status and reason, and as a traceback."""
    started, clock = datetime.now(UTC), time.perf_counter()
    resolved = _plain(config, resolve=True)
    parameters = used_parameters(_plain(config, resolve=False), resolved, choices)  # instantiating resolves in place
    parameters |= {preset: choices[preset] for preset in PRESETS if choices.get(preset)}
    if "model.encoder" in parameters:
        parameters["family"] = family_of(parameters["model.encoder"])
    try:
        with _refusals(parameters):
            _refuse_repetition(folder, overrides, resolved)
            _refuse_contradiction(overrides)
            isolated = one_of("isolation", config.isolation, ISOLATIONS) == "process"
            processes = _checked_processes(config.processes, isolated)
        if isolated:
            part = _in_processes(config, overrides, parameters, processes)
        else:
            part = attempt(config, overrides, parameters)
    except Exception as error:
        part = _ended(error, Findings())
    record = Record(
        status=part.status,
        reason=part.reason,
        overrides=overrides,
        parameters=parameters,
        config=resolved,
        environment=part.environment,
        metrics=part.findings.metrics,
        samples=part.findings.samples,
        verdicts=part.findings.verdicts,
        started=started.isoformat(timespec="milliseconds"),
        duration_s=time.perf_counter() - clock,
    )
    return Measured(record, part.findings.tables, part.traceback)


def _checked_processes(processes: int, isolated: bool) -> int:
    """The number of fresh processes to measure in. `ValueError` where it cannot be."""
    if positive_int("processes", processes) > 1 and not isolated:
        raise ValueError(f"processes={processes} is not allowed with isolation=none: use isolation=process")
    if 1 < processes < FEWEST_PROCESSES:
        raise ValueError(
            f"processes={processes} is not allowed: use 1, or {FEWEST_PROCESSES} or more for an interval over them"
        )
    return processes


def _in_processes(config: DictConfig, overrides: list[str], parameters: Mapping[str, Any], processes: int) -> Part:
    """Measure in fresh processes, one after the other; all but the first check and time only."""
    parts: list[Part] = []
    for index in range(processes):
        part = in_fresh_process(attempt, config, overrides, parameters, process=index)
        if part.status != "ok":
            return part
        parts.append(part)
    if processes == 1:
        return parts[0]
    target = config.timing.get("target_percent")
    whole = combine([part.findings for part in parts], config.batch_size, target)
    return Part(whole, parts[0].environment)


def attempt(
    config: DictConfig, overrides: list[str], parameters: Mapping[str, Any], process: int | None = None
) -> Part:
    """Measure in this process; `process` is its number where nothing else is measured in it."""
    findings = Findings()
    try:
        forget_earlier_points()
        with _refusals(parameters):
            task = _prepare(config, parameters)
            baseline = _prepare_baseline(config, overrides, task)
        if process:
            measure_latency(replace(task, seed=task.seed + process), baseline, findings)
        else:
            measure(task, baseline, findings, own_process=process is not None)
    except (Exception, SystemExit) as error:  # a module that ends the process ends its point
        if not _out_of_memory(error):
            return _ended(error, findings)
        shape = f"{config.batch_size} x {' x '.join(map(str, config.input.shape))}"
        refusal = UnsupportedError(
            f"memory of {config.device.type} ran out with an input of {shape}: {_one_line(error)}"
        )
        return _ended(refusal, findings)
    return Part(findings, environment.describe())


def _ended(error: BaseException, findings: Findings) -> Part:
    """What is left of a point that raised."""
    status, trace = "unsupported" if isinstance(error, UnsupportedError) else "failed", traceback.format_exc()
    log.info("%s: %s", status, trace)
    return Part(findings, environment.describe(), status, _one_line(error), trace)


_measured: dict[tuple[Path, str], list[str]] = {}
"""The overrides of the points of a sweep's folder that this process has met, by what they are measured from."""


def _refuse_repetition(folder: Path, overrides: list[str], resolved: Mapping[str, Any]) -> None:
    """Raise `ValueError` where a point of the same sweep is the same measurement: what differs changes nothing."""
    identity = json.dumps([resolved[key] for key in (*POINT_KEYS, "baseline")], default=str)
    first = _measured.setdefault((folder.parent, identity), overrides)
    unused = [override for override in overrides if override not in first]
    if unused:
        raise ValueError(
            f"{' '.join(unused)} changes nothing here: the point {' '.join(first)} is the same measurement"
        )


def _refuse_contradiction(overrides: list[str]) -> None:
    """Raise `ValueError` where both a mode and what it sets were typed: the point would not be what its name says."""
    typed = {override.partition("=")[0]: override for override in overrides}
    for key in ("execution", "precision"):
        if "mode" in typed and key in typed:
            raise ValueError(f"{typed[key]} is not allowed beside {typed['mode']}: a mode sets precision and execution")


def _prepare(config: DictConfig, parameters: Mapping[str, Any]) -> Task:
    """Check every value, build module and input, and call the module once. `ValueError` where something is refused."""
    for axis in AXES:
        if axis in parameters:
            positive_int(axis, parameters[axis])
    timing = _instantiated(config.timing)
    precision = config.precision
    device = open_device(**_plain(config.device, resolve=True))
    dtype = dtype_named(precision.dtype)
    autocast = None if precision.autocast is None else dtype_named(precision.autocast, "precision.autocast", HALVES)
    fp32_precision = one_of("precision.fp32_precision", precision.fp32_precision, FP32_PRECISIONS)
    require_precision(device, autocast or dtype, fp32_precision)
    training = _training(config)
    analysis = _instantiated(config.analysis)
    if training is not None and not isinstance(analysis, NoAnalysis):
        raise ValueError("analysis=full is not allowed with phase=train_step: it takes a forward pass apart")
    sizes = _plain(config.machine, resolve=True)
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
        execution=_instantiated(config.execution),
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
        if _out_of_memory(error):
            raise
        raise ValueError(f"the module does not take an input of {_shape(task.input)}: {_one_line(error)}") from error
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
        if _out_of_memory(error):
            raise
        hint = "; a larger batch_size or resolution may help" if "more than 1 value per channel" in str(error) else ""
        raise ValueError(f"phase=train_step is not allowed: {_one_line(error)}{hint}") from error
    if not all(tensor.is_floating_point() for tensor in tensors_in(result)):
        raise ValueError("phase=train_step is not allowed: the module's results are not floating-point numbers")


def _out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on an accelerator or on the host."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _shape(x: Tensor) -> str:
    return " x ".join(str(size) for size in x.shape)


def _prepare_baseline(config: DictConfig, overrides: list[str], task: Task) -> Task | None:
    """The same point with the overrides of `baseline`, or `None` without one. `ValueError` names the baseline."""
    if config.baseline is None:
        return None
    if not isinstance(config.baseline, DictConfig):
        raise ValueError(f"baseline={config.baseline} is not allowed: it must be overrides, like baseline={{block:dw}}")
    changes = _plain(config.baseline, resolve=True)
    shared = [key for key in changes if key.partition(".")[0] in SHARED]
    if shared:
        raise ValueError(
            f"baseline={changes} is not allowed: {shared[0]} holds for the point and its baseline alike, because both "
            f"run in turns in one process"
        )
    typed = [o for o in overrides if not _replaced(o.partition("=")[0], changes) and not o.startswith("baseline")]
    try:
        baseline = _prepare(composed([*typed, *(f"{key}={hydra_value(value)}" for key, value in changes.items())]), {})
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


def _instantiated(node: DictConfig) -> Any:
    """What a node with a `_target_` describes; a `ValueError` from the target comes through as it is."""
    try:
        return instantiate(node, _convert_="all")
    except MissingMandatoryValue as error:
        raise ValueError(f"{error.full_key} is needed: it has no default") from error
    except InstantiationException as error:
        cause = error.__cause__
        raise (cause if isinstance(cause, ValueError) else error) from error


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
    text = " ".join(str(error).split()) or type(error).__name__
    if len(text) > LONGEST_REASON:
        text = text[: LONGEST_REASON - 3] + "..."
    return text if isinstance(error, ValueError | GateError | ProcessDiedError) else f"{type(error).__name__}: {text}"


def _plain(config: DictConfig, resolve: bool) -> dict[str, Any]:
    container = OmegaConf.to_container(config, resolve=resolve)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
