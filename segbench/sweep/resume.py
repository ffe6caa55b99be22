"""Resuming a sweep: which of its points have a record that stands, and in which folders the others are measured."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from segbench.base.checks import one_of
from segbench.config.compose import ON_THIS_MACHINE, Sources
from segbench.config.overrides import decisive, of_the_point, override
from segbench.point.identity import (
    PARTS,
    code_version,
    differences,
    digest,
    machine,
    recipe,
    software,
    targets,
)
from segbench.point.record import FILE_NAME, STATUSES, Record, load, load_sweep

PLAIN_NAME = re.compile(r"[\w,=+-][\w.,=+-]*")
"""Names of points' folders that Hydra takes as they are; other folders are left alone."""


def checked_retry(retry: object) -> list[str]:
    """The statuses to measure again. `ValueError` where one is none."""
    statuses = [retry] if isinstance(retry, str) else retry
    if not isinstance(statuses, list):
        raise ValueError(f"retry={retry} is not allowed: it must be a list of {', '.join(STATUSES)}")
    return [one_of("retry", status, STATUSES) for status in statuses]


@dataclass(frozen=True)
class Rule:
    """When a record stands for a point: settled by its status, and of the same identity.

    `retry` are the statuses that settle nothing, and a timeout settles a point with the same time allowed. The machine
    must be the same one, or, with a `launcher` that spreads points over machines, one that this launcher had chosen.
    """

    retry: Collection[str]
    timeout_s: float | None
    launcher: str

    @staticmethod
    def of(config: Mapping[str, Any], launcher: str) -> Rule:
        """The rule that a resolved configuration asks for. `ValueError` for a status that is none."""
        return Rule(checked_retry(config["retry"]), config["point_timeout_s"], launcher)

    def is_settled(self, record: Record) -> bool:
        """Whether a record ends its point."""
        if record.status == "timeout" and record.config.get("point_timeout_s") != self.timeout_s:
            return False
        return record.status not in self.retry

    def differences(self, record: Record, identity: Mapping[str, str]) -> list[str]:
        """In what a record is of another measurement than the one that `identity` describes, in words."""
        spread = self.launcher not in ON_THIS_MACHINE and record.environment.get("launcher") == self.launcher
        parts = [part for part in PARTS if not (spread and part == "machine")]
        return differences(record.identity, identity, parts)

    def standing(self, folder: Path, identity: Mapping[str, str]) -> tuple[Record | None, tuple[str, ...]]:
        """The record of a point's folder where it stands for the point; else why a settled one does not."""
        try:
            found = load(folder / FILE_NAME)
        except (OSError, ValueError):
            return None, ()
        if not self.is_settled(found):
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

    def __init__(self, folder: Path, rule: Rule, sources: Sources, environment: Mapping[str, Any]) -> None:
        self.rule, self.sources = rule, sources
        self._here = {"software": digest(software(environment)), "machine": digest(machine(environment))}
        self._records = dict(load_sweep(folder)[0])
        self._records = {name: record for name, record in self._records.items() if PLAIN_NAME.fullmatch(name)}
        self._names: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for name, record in self._records.items():
            self._names[_key(record.overrides)].append(name)
        self._taken = set(self._records)
        self.kept = 0

    def remaining(self, batch: Sequence[Sequence[str]]) -> list[list[str]]:
        """The points of a batch that are to be measured, each with the folder for it; counts the others in `kept`."""
        left = []
        for index, overrides in enumerate(batch):
            names = self._names[_key(overrides)]
            name = names.pop(0) if names else None
            if name is not None and self._stands(self._records[name], overrides):
                self.kept += 1
            else:
                left.append([*overrides, override("hydra.sweep.subdir", name or self._free_name(index))])
        return left

    def _stands(self, record: Record, overrides: Sequence[str]) -> bool:
        """Whether the record surely stands for the point; where that is not sure, the point itself finds out."""
        made_from = recipe(of_the_point(overrides), self.sources)
        if made_from is None or record.identity.get("recipe") != made_from or not self.rule.is_settled(record):
            return False
        code = code_version(targets(record.config))
        return not self.rule.differences(record, {**record.identity, **self._here, "code": code})

    def _free_name(self, index: int) -> str:
        numbers = (str(number) for number in chain([index], count(len(self._taken))))
        name = next(number for number in numbers if number not in self._taken)
        self._taken.add(name)
        return name


def _key(overrides: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(decisive(overrides)))
