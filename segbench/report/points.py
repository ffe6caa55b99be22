"""The points of one or several sweeps, with the axes along which they differ."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from segbench.point.record import FILE_NAME, Record, disturbed, load, load_sweep
from segbench.report.estimate import Estimate
from segbench.report.quantity import Quantity

MACHINE, SWEEP = "machine", "sweep"
"""Axes that appear where points of several machines, or several sweeps of one machine, stand side by side."""


@dataclass(frozen=True)
class Point:
    """A record with its value on every axis, `""` on one that it does not use.

    `split` names the axes that others were split from, and `sweep` and `name` the folders it was found in.
    """

    record: Record
    axes: dict[str, Any] = field(default_factory=dict)
    split: frozenset[str] = frozenset()
    sweep: str = ""
    name: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was measured."""
        return self.record.status == "ok"

    @property
    def title(self) -> str:
        """Its values on its axes, in words."""
        return in_words(self.axes) or self.name

    def estimate(self, quantity: Quantity) -> Estimate | None:
        """Its figure; `None` where it was not measured or has none."""
        return quantity.estimate(self.record.metrics) if self.ok else None

    def is_disturbed(self, quantity: Quantity) -> bool:
        """Whether the quantity depends on timings, and these were contended or unsteady."""
        return bool(quantity.power) and disturbed(self.record)

    def value(self, axis: str) -> Any:
        """Its value on an axis, or of a parameter; `""` where it has neither."""
        return self.axes.get(axis, _parameter(self.record, axis))

    def matches(self, where: Mapping[str, Any]) -> bool:
        """Whether its axes or parameters have these values; a list allows any of its own."""
        return all(str(self.value(axis)) in map(str, as_list(allowed)) for axis, allowed in where.items())

    def other_axes(self, *compared: str) -> dict[str, str]:
        """Its axes but the compared ones and those that were split."""
        left_out = self.split.union(compared)
        return {axis: str(value) for axis, value in self.axes.items() if axis not in left_out}

    def axes_of(self, key: str) -> list[str]:
        """The axes that belong to a key: itself and its options (`prcm.expansion` of `prcm`)."""
        return [axis for axis in self.axes if axis == key or axis.startswith(f"{key}.")]


def _parameter(record: Record, name: str) -> Any:
    """A parameter's value, `""` of none; a list (`input.shape`) as text, by which points can be told apart."""
    value = record.parameters.get(name, "")
    return str(value) if isinstance(value, list | dict) else value


def as_list(values: Any) -> list[Any]:
    """A list as it is, and any other value as a list of one."""
    return values if isinstance(values, list) else [values]


def in_words(axes: Mapping[str, Any]) -> str:
    """The values on axes as a user would type them."""
    return " ".join(f"{axis}={value}" for axis, value in axes.items() if value != "")


def machine_of(record: Record) -> str:
    """What a record ran on: processor, cores and host; the accelerator where the point used one."""
    found = record.environment
    accelerator = found.get("accelerator") or {}
    if accelerator and (record.config.get("device") or {}).get("type") == "cuda":
        return f"{accelerator.get('name')}, {found.get('host')}"
    return f"{found.get('cpu')}, {found.get('cores_physical')} cores, {found.get('host')}"


def load_points(folders: Sequence[Path]) -> tuple[list[Point], list[str]]:
    """The points of sweeps' folders, or of points' own, and why other records cannot be read.

    `ValueError` where there is none.
    """
    found: list[Point] = []
    broken: list[str] = []
    names = {folder: folder.resolve().name for folder in folders}
    alike = len(set(names.values())) < len(names)
    for folder, name in names.items():
        single = folder / FILE_NAME
        records, unreadable = ([(folder.name, load(single))], []) if single.is_file() else load_sweep(folder)
        found += [Point(record, sweep=str(folder) if alike else name, name=point) for point, record in records]
        broken += unreadable
    if not found:
        raise ValueError(f"no records below {', '.join(map(str, folders))}: a sweep's folder holds them")
    return found, broken


def with_axes(
    points: Sequence[Point], swept: Sequence[str], split: Mapping[str, Sequence[str]] | None = None
) -> list[Point]:
    """The points with their axes: what was swept, and the machine or the sweep where there are several.

    `split` takes a parameter like `stage=jeongwon/enc1` apart at its slashes, into axes of their own.
    """
    places = [(machine_of(point.record), point.sweep) for point in points]
    machines = {machine for machine, _ in places}
    found = []
    for point, (machine, sweep) in zip(points, places, strict=True):
        axes = {key: _parameter(point.record, key) for key in swept}
        for key, names in (split or {}).items():
            axes |= dict(zip(names, str(_parameter(point.record, key)).split("/"), strict=False))
        axes |= {MACHINE: machine} if len(machines) > 1 else {}
        axes |= {SWEEP: sweep} if len(set(places)) > len(machines) else {}
        found.append(replace(point, axes=axes, split=frozenset(split or ())))
    return found


def values_on(points: Iterable[Point], axis: str) -> list[Any]:
    """The values on an axis, in the order of the points."""
    return list(dict.fromkeys(point.value(axis) for point in points))
