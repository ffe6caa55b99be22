"""What Hydra calls for each point of a sweep, in the process that measures it: measure, write the record, send it."""

import logging
import traceback
from dataclasses import asdict
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from segbench.base.errors import one_line
from segbench.base.interrupts import held_back
from segbench.config.compose import Sources, instantiated, launcher_of
from segbench.config.overrides import of_the_point
from segbench.config.used import unused_note
from segbench.point import environment
from segbench.point.cluster import job_and_node
from segbench.point.entry import Attempt, measure_point, understand
from segbench.point.record import Record, save
from segbench.report.analysis import write as write_analysis
from segbench.sweep.ending import Outcome
from segbench.sweep.folder import note_begin, note_end, supersede
from segbench.sweep.repetition import repeated
from segbench.sweep.resume import KeepRule
from segbench.tracking.tracker import TrackerError

log = logging.getLogger(__name__)


def run(config: DictConfig) -> Outcome:
    """Measure the point that Hydra composed, write its record, and send it to the tracker.

    In a resumed sweep, the point keeps a final record of the same measurement; any other record is moved aside.
    """
    hydra = HydraConfig.get()
    folder, launcher = Path(hydra.runtime.output_dir), launcher_of(hydra.runtime.choices)
    notes: tuple[str, ...] = ()
    try:
        request = understand(config, of_the_point(hydra.overrides.task), hydra.runtime.choices, Sources.of(hydra))
        if config.resume:
            rule = KeepRule.of(request.config, launcher)
            kept, notes = rule.kept_record(folder, request.identity)
            if kept:
                return Outcome(kept.status, f"{_detail(kept)} (kept)")
        known = {
            **asdict(request),
            "environment": {**environment.describe(request.config["device"]), "launcher": launcher, **job_and_node()},
        }
        with held_back():
            supersede(folder)
            known["started"] = note_begin(folder, known)
        if reason := repeated(folder, request.overrides, request.config):
            record, attempt = Record("unsupported", reason, **known), Attempt()
        else:
            record, attempt = measure_point(request, launcher)
        with held_back():
            save(record, folder)
            note_end(folder)
            warnings, untracked = _hand_on(config, record, attempt, folder)
    except Exception as error:  # there is no record: only this tells what happened
        return Outcome("failed", f"no record: {one_line(error)}", (), traceback.format_exc(), unrecorded=True)
    if note := unused_note(request.overrides, record.parameters):
        notes = (*notes, note)
    return Outcome(record.status, _detail(record), (*warnings, *notes), attempt.traceback, untracked=untracked)


def _detail(record: Record) -> str:
    return record.reason or f"{record.metrics['latency_ms/median']:.4g} ms"


def _hand_on(config: DictConfig, record: Record, attempt: Attempt, folder: Path) -> tuple[tuple[str, ...], bool]:
    """Write the analysis and send the record; returns warnings, and whether the tracker lacks the record."""
    warnings = []
    if attempt.result.tables:
        try:
            write_analysis(attempt.result.tables, record.metrics, folder)
        except (OSError, ValueError) as error:
            warnings.append(f"the analysis is not written: {one_line(error)}")
            log.warning("%s: %s", warnings[0], traceback.format_exc())
    try:
        sent = instantiated(config.tracker).log_point(record, folder)
    except TrackerError as error:
        log.warning("not tracked: %s", error)
        return (*warnings, str(error)), True
    return tuple(warnings), not sent
