"""The points of one or several sweeps, with the axes along which they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segbench.point.record import FILE_NAME, Record, load, load_sweep
from segbench.report.comparison import swept_keys

Axes = dict[str, Any]
MACHINE, SWEEP = "machine", "sweep"
"""Axes that appear where points of several machines, or several sweeps of one machine, stand side by side."""


@dataclass(frozen=True)
class Point:
    """A record and where it lies among the others: the value on every axis, `""` on one that it does not use."""

    axes: Axes
    record: Record
    sweep: str = ""
    name: str = ""
    presets: frozenset[str] = frozenset()
    """Axes that others were split from."""

    @property
    def ok(self) -> bool:
        """Whether it was measured."""
        return self.record.status == "ok"

    @property
    def machine(self) -> str:
        """Processor, cores and host; the accelerator where the point used one."""
        return machine_of(self.record)

    def matches(self, where: Mapping[str, Any]) -> bool:
        """Whether its axes or parameters have these values; a list allows any of its own."""
        return all(str(self.value(key)) in _allowed(values) for key, values in where.items())

    def value(self, key: str) -> Any:
        """Its value on an axis, or of a parameter; `""` where it has neither."""
        return self.axes.get(key, self.record.parameters.get(key, ""))


def _allowed(values: Any) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list) else [str(values)]


def machine_of(record: Record) -> str:
    """What a record ran on, in one line."""
    found = record.environment
    accelerator = found.get("accelerator") or {}
    if accelerator and record.config.get("device", {}).get("type") == "cuda":
        return f"{accelerator.get('name')}, {found.get('host')}"
    return f"{found.get('cpu')}, {found.get('cores_physical')} cores, {found.get('host')}"


def load_points(folders: Sequence[Path]) -> tuple[list[Point], list[str]]:
    """The points of sweeps' folders, or of points' own, and why other records cannot be read.

    `ValueError` where there is none.
    """
    found: list[Point] = []
    broken: list[str] = []
    names = _short_names(folders)
    for folder in folders:
        if (folder / FILE_NAME).is_file():
            found.append(Point({}, load(folder / FILE_NAME), names[folder], folder.name))
            continue
        records, unreadable = load_sweep(folder)
        found += [Point({}, record, names[folder], name) for name, record in records]
        broken += unreadable
    if not found:
        raise ValueError(f"no records below {', '.join(map(str, folders))}: a sweep's folder holds them")
    return found, broken


def _short_names(folders: Sequence[Path]) -> dict[Path, str]:
    """The shortest ends of the folders' paths that tell them apart."""
    parts = {folder: folder.resolve().parts for folder in folders}
    for length in range(1, max(map(len, parts.values()), default=0) + 1):
        names = {folder: "/".join(each[-length:]) for folder, each in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {folder: str(folder) for folder in folders}


def with_axes(points: Sequence[Point], split: Mapping[str, Sequence[str]] | None = None) -> list[Point]:
    """The points with their axes: what was swept, and the machine or the sweep where there are several.

    `split` takes a parameter like `stage=jeongwon/enc1` apart at its slashes, into axes of their own.
    """
    keys = swept_keys([point.record for point in points])
    several_machines = len({point.machine for point in points}) > 1
    per_machine = {(point.machine, point.sweep) for point in points}
    several_sweeps = len(per_machine) > len({machine for machine, _ in per_machine})
    placed = []
    for point in points:
        axes = {key: point.record.parameters.get(key, "") for key in keys}
        for key, names in (split or {}).items():
            axes |= dict(zip(names, str(point.record.parameters.get(key, "")).split("/"), strict=False))
        if several_machines:
            axes[MACHINE] = point.machine
        if several_sweeps:
            axes[SWEEP] = point.sweep
        placed.append(replace(point, axes=axes, presets=frozenset(split or ())))
    return placed


def values_on(points: Iterable[Point], axis: str) -> list[Any]:
    """The values on an axis, in the order of the points."""
    return list(dict.fromkeys(point.value(axis) for point in points))
