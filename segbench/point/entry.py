"""One point: a composed configuration becomes a module, the module a step, the step a record."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from segbench.base.checks import one_of, positive_int, positive_number
from segbench.base.errors import UnsupportedError
from segbench.config.compose import Sources, plain
from segbench.config.families import family_of
from segbench.config.keys import Role, keys_with
from segbench.config.overrides import key_of
from segbench.config.used import used_parameters
from segbench.measure.statistics import FEWEST_PROCESSES
from segbench.point import environment
from segbench.point.findings import Findings, combine
from segbench.point.identity import identity, recipe
from segbench.point.isolation import PointTimeoutError, within
from segbench.point.measure import measure, measure_latency
from segbench.point.neighbours import Neighbours, labels
from segbench.point.place import place
from segbench.point.prepare import one_line, out_of_memory, prepare, prepare_baseline
from segbench.point.record import Record
from segbench.step.placed import forget_earlier_points, usable_processors

log = logging.getLogger(__name__)
ISOLATIONS = ("none", "process")


@dataclass(frozen=True)
class Request:
    """What a composed configuration asks for, as plain values; parts of the point's record."""

    overrides: list[str]
    parameters: dict[str, Any]
    config: dict[str, Any]
    identity: dict[str, str]


def understand(
    config: DictConfig, overrides: list[str], choices: Mapping[str, Any], sources: Sources | None = None
) -> Request:
    """What a configuration asks for; `sources` are what it was composed from, where that is known."""
    resolved = plain(config, resolve=True)
    parameters = used_parameters(plain(config, resolve=False), resolved, choices)  # instantiating resolves in place
    parameters |= {preset: choices[preset] for preset in keys_with(Role.PRESET) if choices.get(preset)}
    if "model.encoder" in parameters:
        parameters["family"] = family_of(parameters["model.encoder"])
    hashes = identity(resolved, environment.describe())
    if sources and (made_from := recipe(overrides, sources)):
        hashes["recipe"] = made_from
    return Request(overrides, parameters, resolved, hashes)


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


def measure_point(config: DictConfig, request: Request, folder: Path, launcher: str = "basic") -> Measured:
    """Measure one point; whatever goes wrong ends in the record's status and reason, and as a traceback."""
    started, clock = _now(), time.perf_counter()
    try:
        with _refusals(request.parameters):
            _refuse_contradiction(request.overrides)
            timeout_s = config.point_timeout_s
            if timeout_s is not None:
                positive_number("point_timeout_s", timeout_s)
            isolated = one_of("isolation", config.isolation, ISOLATIONS) == "process" or timeout_s is not None
            processes = _checked_processes(config.processes, isolated)
            neighbours = Neighbours(config.neighbours, _processors(request.config["device"]))
        with neighbours:
            started, clock = _now(), time.perf_counter()
            if isolated:
                part = _in_processes(config, request, processes, timeout_s)
            else:
                part = attempt(config, request.overrides, request.parameters)
            duration_s = time.perf_counter() - clock
        if neighbours.met and part.status == "ok":
            part.findings.metrics["timing/neighbours"] = float(neighbours.met)
            part.findings.verdicts["contended"] = True
    except Exception as error:
        part, duration_s = _ended(error, Findings()), time.perf_counter() - clock
    record = Record(
        status=part.status,
        reason=part.reason,
        **asdict(request),
        environment={**part.environment, "launcher": launcher, **place()},
        metrics=part.findings.metrics,
        samples=part.findings.samples,
        verdicts=part.findings.verdicts,
        started=started,
        duration_s=duration_s,
    )
    return Measured(record, part.findings.tables, part.traceback)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _processors(device: Mapping[str, Any]) -> list[str]:
    """Labels of the processors that a point computes on, where they can be told before the point is checked."""
    pinned = device["affinity"]
    known = isinstance(pinned, list) and all(isinstance(processor, int) for processor in pinned)
    return labels(str(device["type"]), pinned if known else usable_processors())


def _checked_processes(processes: int, isolated: bool) -> int:
    """The number of fresh processes to measure in. `ValueError` where it cannot be."""
    if positive_int("processes", processes) > 1 and not isolated:
        raise ValueError(f"processes={processes} is not allowed with isolation=none: use isolation=process")
    if 1 < processes < FEWEST_PROCESSES:
        raise ValueError(
            f"processes={processes} is not allowed: use 1, or {FEWEST_PROCESSES} or more for an interval over them"
        )
    return processes


def _in_processes(config: DictConfig, request: Request, processes: int, timeout_s: float | None) -> Part:
    """Measure in fresh processes, one after the other; all but the first check and time only."""
    parts: list[Part] = []
    until = None if timeout_s is None else time.monotonic() + timeout_s
    for index in range(processes):
        left_s = None if until is None else max(until - time.monotonic(), 0.0)
        try:
            part = within(left_s, attempt, config, request.overrides, request.parameters, process=index)
        except PointTimeoutError:
            raise PointTimeoutError(f"no result after {timeout_s:g} s (point_timeout_s)") from None
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
    status, trace = _status(error), traceback.format_exc()
    log.info("%s: %s", status, trace)
    return Part(findings, environment.describe(), status, one_line(error), trace)


def _status(error: BaseException) -> str:
    if isinstance(error, PointTimeoutError):
        return "timeout"
    return "unsupported" if isinstance(error, UnsupportedError) else "failed"


def _refuse_contradiction(overrides: list[str]) -> None:
    """Raise `ValueError` where both a mode and what it sets were typed: the point would not be what its name says."""
    typed = {key_of(override): override for override in overrides}
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
