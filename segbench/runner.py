"""One point: a composed configuration becomes a module, the module a step, the step a record."""

from __future__ import annotations

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

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from segbench import environment
from segbench.axes import ADDED
from segbench.checks import UnsupportedError, one_of, positive_int
from segbench.config import POINT_KEYS, family_of, unused_note, used_parameters
from segbench.execute import forget_earlier_points
from segbench.findings import Findings, combine
from segbench.isolate import in_fresh_process
from segbench.measure.statistics import FEWEST_PROCESSES
from segbench.point import measure, measure_latency
from segbench.prepare import one_line, out_of_memory, plain, prepare, prepare_baseline
from segbench.record import Record, save
from segbench.report.analysis import write as write_analysis
from segbench.secrets import without_secrets
from segbench.track import TrackerError

log = logging.getLogger(__name__)
ISOLATIONS = ("none", "process")
PRESETS = ("stage", "variant", "mode")
"""Groups that only set keys of others; the point's parameters name the choice all the same."""


@dataclass(frozen=True)
class Outcome:
    """How a point ended, small enough to travel back from another process."""

    status: str
    detail: str
    warning: str | None = None
    traceback: str | None = None
    unrecorded: bool = False
    note: str | None = None


def run(config: DictConfig) -> Outcome:
    """Measure the point that Hydra composed, write its record, and send it to the tracker."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    overrides = [override for override in hydra.overrides.task if not override.startswith(ADDED)]
    try:
        measured = measure_point(config, overrides, hydra.runtime.choices, folder)
        record, trace = measured.record, measured.traceback
        save(record, folder)
    except Exception as error:  # without a record this is the only word of the point
        return Outcome("failed", f"no record: {one_line(error)}", None, traceback.format_exc(), unrecorded=True)
    detail = record.reason or f"{record.metrics['latency_ms/median']:.4g} ms"
    warning = None
    if measured.tables:
        try:
            write_analysis(measured.tables, record.metrics, folder)
        except (OSError, ValueError) as error:
            warning = f"the analysis is not written: {one_line(error)}"
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
    resolved = without_secrets(plain(config, resolve=True))
    parameters = used_parameters(plain(config, resolve=False), resolved, choices)  # instantiating resolves in place
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
            task = prepare(config, parameters)
            baseline = prepare_baseline(config, overrides, task)
        if process:
            measure_latency(replace(task, seed=task.seed + process), baseline, findings)
        else:
            measure(task, baseline, findings, own_process=process is not None)
    except (Exception, SystemExit) as error:  # a module that ends the process ends its point
        if not out_of_memory(error):
            return _ended(error, findings)
        shape = f"{config.batch_size} x {' x '.join(map(str, config.input.shape))}"
        refusal = UnsupportedError(
            f"memory of {config.device.type} ran out with an input of {shape}: {one_line(error)}"
        )
        return _ended(refusal, findings)
    return Part(findings, environment.describe())


def _ended(error: BaseException, findings: Findings) -> Part:
    """What is left of a point that raised."""
    status, trace = "unsupported" if isinstance(error, UnsupportedError) else "failed", traceback.format_exc()
    log.info("%s: %s", status, trace)
    return Part(findings, environment.describe(), status, one_line(error), trace)


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


@contextmanager
def _refusals(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Turn the `ValueError`s of configuration, construction and the first call into `UnsupportedError`.

    Modules name their arguments (`num_basis=-1`); the user typed keys (`prcm.num_basis=-1`): the key is put in.
    """
    try:
        yield
    except ValueError as error:
        message = one_line(error)
        name = message.partition("=")[0]
        keys = [key for key in parameters if key.rpartition(".")[2] == name]
        raise UnsupportedError(message.replace(name, keys[0], 1) if len(keys) == 1 else message) from error
