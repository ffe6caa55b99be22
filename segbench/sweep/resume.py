"""Resuming a sweep: which of its points keep their records, and in which folders the others are measured."""

import re
import sys
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from segbench.base.checks import one_of
from segbench.base.errors import NotAllowedError
from segbench.config.compose import ON_THIS_MACHINE, Sources, launcher_of, plain
from segbench.config.overrides import decisive, of_the_point, override
from segbench.point import environment
from segbench.point.environment import accelerator
from segbench.point.identity import PARTS, code_version, differences, machine_hash, recipe, software_hash, targets
from segbench.point.record import STATUSES, Record, load_sweep
from segbench.sweep import folder as sweep_folder
from segbench.sweep.display import warn
from segbench.sweep.ending import RefusedError
from segbench.sweep.slurm import still_running

PLAIN_NAME = re.compile(r"[\w,=+-][\w.,=+-]*")
"""Names of points' folders that Hydra takes as they are; other folders are left alone."""


def checked_retry(retry: object) -> list[str]:
    """The statuses to measure again. `ValueError` where one is none."""
    statuses = [retry] if isinstance(retry, str) else retry
    if not isinstance(statuses, list):
        raise NotAllowedError("retry", retry, f"it must be a list of {', '.join(STATUSES)}")
    return [one_of("retry", status, STATUSES) for status in statuses]


@dataclass(frozen=True)
class KeepRule:
    """When a point keeps its record: its status is final, and nothing that determines a result has changed.

    Statuses in `retry` are not final, nor is a timeout if `point_timeout_s` has changed. The machine must be the same
    one, or, with a `launcher` that spreads points over machines, one that this launcher had chosen.
    """

    retry: Collection[str]
    timeout_s: float | None
    launcher: str

    @staticmethod
    def of(config: Mapping[str, Any], launcher: str) -> "KeepRule":
        """The rule that a resolved configuration asks for. `ValueError` for a status that is none."""
        return KeepRule(checked_retry(config["retry"]), config["point_timeout_s"], launcher)

    def is_final(self, record: Record) -> bool:
        """Whether the point keeps its record if nothing else has changed."""
        if record.status == "timeout" and record.config.get("point_timeout_s") != self.timeout_s:
            return False
        return record.status not in self.retry

    def differences(self, record: Record, identity: Mapping[str, str]) -> list[str]:
        """How the measurement of a record differs from the one that `identity` describes, in words."""
        spread = self.launcher not in ON_THIS_MACHINE and record.environment.get("launcher") == self.launcher
        parts = [part for part in PARTS if not (spread and part == "machine")]
        return differences(record.identity, identity, parts)

    def kept_record(self, folder: Path, identity: Mapping[str, str]) -> tuple[Record | None, tuple[str, ...]]:
        """The record that a point with this identity keeps; if none, why the final one in its folder does not count."""
        found = sweep_folder.record_in(folder)
        if found is None or not self.is_final(found):
            return None, ()
        other = self.differences(found, identity)
        if not other:
            return found, ()
        return None, (f"records of another {' and another '.join(other)} do not stand: they are kept in superseded/",)


class Plan:
    """What is left of a sweep in its folder.

    A point is known by its decisive overrides. One that has no folder yet gets the number that it would have in a new
    sweep, or the next free one.
    """

    def __init__(self, folder: Path, rule: KeepRule, sources: Sources, here: Mapping[str, Any]) -> None:
        self.rule, self.sources = rule, sources
        self._environment = here
        self._records = {name: record for name, record in load_sweep(folder)[0] if PLAIN_NAME.fullmatch(name)}
        self._names: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for name, record in self._records.items():
            self._names[_key(record.overrides)].append(name)
        self._taken = set(self._records)

    def to_measure(self, points: Sequence[Sequence[str]]) -> list[list[str]]:
        """The points that keep no record, each with the folder for it."""
        left = []
        for index, overrides in enumerate(points):
            names = self._names[_key(overrides)]
            name = names.pop(0) if names else None
            if name is None or not self._is_kept(self._records[name], overrides):
                left.append([*overrides, override("hydra.sweep.subdir", name or self._free_name(index))])
        return left

    def _is_kept(self, record: Record, overrides: Sequence[str]) -> bool:
        """Whether the point surely keeps this record. Where only composing it can tell, `job.run` decides."""
        made_from = recipe(of_the_point(overrides), self.sources)
        if made_from is None or record.identity.get("recipe") != made_from or not self.rule.is_final(record):
            return False
        here = {**self._environment, "accelerator": accelerator(record.config.get("device", {}))}
        code = code_version(targets(record.config))
        now = {"code": code, "software": software_hash(), "machine": machine_hash(here)}
        return not self.rule.differences(record, {**record.identity, **now})

    def _free_name(self, index: int) -> str:
        numbers = (str(number) for number in chain([index], count(len(self._taken))))
        name = next(number for number in numbers if number not in self._taken)
        self._taken.add(name)
        return name


def folder_of(asked: object, parent: Path, command: Sequence[str]) -> Path | None:
    """The folder that `resume=true` or `resume=FOLDER` means; `None` where there is none of the same command yet."""
    if asked is True:
        found = sweep_folder.newest(parent, command)
        if found is None:
            print("segbench: resume: no sweep of this command is there, a new one begins", file=sys.stderr)
        return found
    folder = Path(str(asked))
    if not any((folder / name).is_file() for name in (sweep_folder.STATE, "multirun.yaml")):
        raise RefusedError(f"resume={asked} is not allowed: use true, or the folder of a sweep")
    sweep = sweep_folder.read_sweep(folder)
    if sweep and sorted(sweep.command) != sorted(command):
        warn(f"{folder} is of another command, {' '.join(sweep.command)}: its other points stay in the comparison")
    return folder


def plan(config: DictConfig, folder: Path) -> Plan:
    """What is left to measure of the sweep in a folder. `RefusedError` where its points are still being measured."""
    rule = KeepRule.of(
        plain(OmegaConf.masked_copy(config, ["retry", "point_timeout_s"]), resolve=True),
        launcher_of(config.hydra.runtime.choices),
    )
    if busy := still_running(folder) or sweep_folder.still_measured(folder):
        raise RefusedError(f"{busy}: wait for it, or end it")
    sweep_folder.mark_killed(folder, other_machines=True)
    return Plan(folder, rule, Sources.of(config.hydra), environment.describe())


def _key(overrides: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(decisive(overrides)))
