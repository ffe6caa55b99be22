"""One point, from its composed configuration to its record: what is asked, in which processes, and how it ended."""

import logging
import time
import traceback
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from omegaconf import DictConfig

from segbench.base.checks import one_of, positive_int, positive_number
from segbench.base.errors import GateError, NotAllowedError, PointTimeoutError, UnsupportedError, one_line
from segbench.config.compose import Sources, composed, plain
from segbench.config.families import family_of
from segbench.config.keys import Role, keys_with
from segbench.config.overrides import key_of
from segbench.config.used import used_parameters
from segbench.measure.result import Result
from segbench.measure.statistics import FEWEST_PROCESSES
from segbench.point import environment
from segbench.point.cluster import job_and_node
from segbench.point.gate import require_usable
from segbench.point.identity import identity, recipe
from segbench.point.isolation import in_fresh_process
from segbench.point.measure import measure, measure_latency
from segbench.point.neighbours import Neighbours
from segbench.point.processes import combine
from segbench.point.record import Record
from segbench.point.task import Task, baseline_of, naming_the_baseline, refusals, task_of
from segbench.step.device import forget_earlier_points, out_of_memory

log = logging.getLogger(__name__)
ISOLATIONS = ("none", "process")


@dataclass(frozen=True)
class Request:
    """What a composed configuration asks for, as plain values; parts of the point's record."""

    overrides: list[str]
    parameters: dict[str, Any]
    config: dict[str, Any]
    identity: dict[str, str]


@dataclass
class Attempt:
    """What was found, and where; a reason and a traceback where it did not end `ok`."""

    result: Result = field(default_factory=Result)
    environment: dict[str, Any] = field(default_factory=dict)
    status: str = "ok"
    reason: str | None = None
    traceback: str | None = None


def understand(
    config: DictConfig, overrides: list[str], choices: Mapping[str, Any], sources: Sources | None = None
) -> Request:
    """What a configuration asks for; `sources` are what it was composed from, where that is known."""
    resolved = plain(config, resolve=True)
    parameters = used_parameters(plain(config, resolve=False), resolved, choices)
    parameters |= {preset: choices[preset] for preset in keys_with(Role.PRESET) if choices.get(preset)}
    if "model.encoder" in parameters:
        parameters["family"] = family_of(parameters["model.encoder"])
    hashes = identity(resolved, environment.describe(resolved["device"]))
    if sources and (made_from := recipe(overrides, sources)):
        hashes["recipe"] = made_from
    return Request(overrides, parameters, resolved, hashes)


def measure_point(request: Request, launcher: str = "basic") -> tuple[Record, Attempt]:
    """Measure one point; whatever goes wrong ends in the record's status and reason, and as a traceback."""
    config = request.config
    started, clock = now(), time.perf_counter()
    try:
        with refusals(request.parameters):
            _refuse_contradiction(request.overrides)
            task = task_of(config, request.parameters)
            measured = _measurement(config, task, baseline_of(task, request.overrides))
            neighbours = Neighbours(config["neighbours"], task.device.labels)
        with neighbours:
            started, clock = now(), time.perf_counter()
            attempt = measured()
            duration_s = time.perf_counter() - clock
        if neighbours.met and attempt.status == "ok":
            attempt.result.metrics["timing/neighbours"] = float(neighbours.met)
            attempt.result.verdicts["contended"] = True
    except Exception as error:
        attempt, duration_s = _ended(error, Result(), config["device"]), time.perf_counter() - clock
    record = Record(
        status=attempt.status,
        reason=attempt.reason,
        **asdict(request),
        environment={**attempt.environment, "launcher": launcher, **job_and_node()},
        metrics=attempt.result.metrics,
        samples=attempt.result.samples,
        verdicts=attempt.result.verdicts,
        started=started,
        duration_s=duration_s,
    )
    return record, attempt


def try_out(overrides: list[str], process: int | None = None) -> Attempt:
    """Measure the point of these overrides in this process: no record, no waiting for neighbours."""
    config = plain(composed(overrides), resolve=True)
    try:
        with refusals(()):
            task = task_of(config, {})
            baseline = baseline_of(task, overrides)
    except Exception as error:
        return _ended(error, Result(), config["device"])
    return attempt_task(task, baseline, process)


def now() -> str:
    """The present moment as records give it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _measurement(config: Mapping[str, Any], task: Task, baseline: Task | None) -> partial[Attempt]:
    """What measures the task, in this process or in fresh ones. `ValueError` where that is asked for wrongly."""
    timeout_s, processes = config["point_timeout_s"], config["processes"]
    if timeout_s is not None:
        positive_number("point_timeout_s", timeout_s)
    isolated = one_of("isolation", config["isolation"], ISOLATIONS) == "process" or timeout_s is not None
    if positive_int("processes", processes) > 1 and not isolated:
        raise NotAllowedError("processes", processes, "use isolation=process", beside="isolation=none")
    if 1 < processes < FEWEST_PROCESSES:
        rule = f"use 1, or {FEWEST_PROCESSES} or more for an interval over them"
        raise NotAllowedError("processes", processes, rule)
    if isolated:
        return partial(_in_processes, task, baseline, processes, timeout_s)
    return partial(attempt_task, task, baseline)


def _in_processes(task: Task, baseline: Task | None, processes: int, timeout_s: float | None) -> Attempt:
    """Measure in fresh processes, one after the other; all but the first check and time only."""
    attempts: list[Attempt] = []
    until = None if timeout_s is None else time.monotonic() + timeout_s
    for process in range(processes):
        left_s = None if until is None else max(until - time.monotonic(), 0.0)
        try:
            attempt = in_fresh_process(partial(attempt_task, task, baseline, process), left_s)
        except PointTimeoutError:
            raise PointTimeoutError(f"no result after {timeout_s:g} s (point_timeout_s)") from None
        if attempt.status != "ok":
            return attempt
        attempts.append(attempt)
    if processes == 1:
        return attempts[0]
    target = getattr(task.timing, "target_percent", None)
    whole = combine([each.result for each in attempts], task.batch_size, target)
    return Attempt(whole, attempts[0].environment)


def attempt_task(task: Task, baseline: Task | None = None, process: int | None = None) -> Attempt:
    """Measure in this process; `process` is its number where nothing else is measured in it."""
    result, device = Result(), vars(task.device)
    try:
        forget_earlier_points()
        with refusals(task.keys):
            task.device.apply()
            _require(task)
            if baseline is not None:
                with naming_the_baseline(task.baseline):
                    _require(baseline)
        if process:
            measure_latency(task, baseline, result, process)
        else:
            measure(task, baseline, result, own_process=process is not None)
    except (Exception, SystemExit) as error:  # a module that ends the process ends its point
        if not out_of_memory(error):
            return _ended(error, result, device)
        shape = " x ".join(map(str, (task.batch_size, *task.shape)))
        refusal = f"memory of {task.device.type} ran out with an input of {shape}: {one_line(error)}"
        return _ended(UnsupportedError(refusal), result, device)
    return Attempt(result, environment.describe(device))


def _require(task: Task) -> None:
    task.precision.require(task.device.torch_device)
    require_usable(task)


def _ended(error: BaseException, result: Result, device: Mapping[str, Any]) -> Attempt:
    """What is left of a point that raised."""
    status, trace = _status(error), traceback.format_exc()
    log.info("%s: %s", status, trace)
    if isinstance(error, GateError):
        result.metrics |= error.metrics
    return Attempt(result, environment.describe(device), status, one_line(error), trace)


def _status(error: BaseException) -> str:
    if isinstance(error, PointTimeoutError):
        return "timeout"
    return "unsupported" if isinstance(error, UnsupportedError) else "failed"


def _refuse_contradiction(overrides: Collection[str]) -> None:
    """Raise `ValueError` where both a mode and what it sets were typed: the point would not be what its name says."""
    typed = {key_of(override): override for override in overrides}
    for key in ("execution", "precision"):
        if "mode" in typed and key in typed:
            raise ValueError(f"{typed[key]} is not allowed beside {typed['mode']}: a mode sets precision and execution")
