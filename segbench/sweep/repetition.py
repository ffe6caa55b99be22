"""Points of a sweep that are the same measurement: one is measured, the others say which override changes nothing."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segbench.config.keys import Role, keys_with
from segbench.config.overrides import key_of
from segbench.point.identity import digest
from segbench.point.record import FILE_NAME, order_of
from segbench.sweep.folder import BEGUN, read_sweep, record_in

_met: dict[Path, dict[str, tuple[str, list[str]]]] = {}
"""By the folder of a sweep and the names of its points' folders: the hash of what a point is measured from, and its
overrides. Each is read once by a process."""


def repeated(folder: Path, overrides: Sequence[str], config: Mapping[str, Any]) -> str | None:
    """Which swept overrides of a point change nothing, as another point of its sweep shows, in words; `None` if none.

    Of two such points the first is measured: the one whose folder comes first, or which has been measured already.
    """
    sweep = read_sweep(folder.parent)
    if sweep is None:  # a single point
        return None
    points = _points(folder.parent)
    points[folder.name] = mine, _ = _measurement(config), list(overrides)
    same = sorted((name for name, (other, _) in points.items() if other == mine), key=order_of)
    for name in same:
        others = points[name][1]
        differ = [each for each in overrides if each not in others]
        if sweep.axes is not None:
            differ = [each for each in differ if key_of(each) in sweep.axes]
        earlier = order_of(name) < order_of(folder.name)
        if differ and (earlier or ((found := record_in(folder.parent / name)) and found.status == "ok")):
            return f"{' '.join(differ)} changes nothing here: the point {' '.join(others)} is the same measurement"
    return None


def _points(sweep: Path) -> dict[str, tuple[str, list[str]]]:
    """The points of a sweep's folder, as far as they have begun."""
    points = _met.setdefault(sweep, {})
    for name in {path.name for path in sweep.iterdir()} - points.keys():
        for path in (sweep / name / BEGUN, sweep / name / FILE_NAME):
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                found = found.get("point", found)
                points[name] = _measurement(found["config"]), list(found["overrides"])
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
            break
    return points


def _measurement(config: Mapping[str, Any]) -> str:
    """Hash of the part of a resolved configuration that a point is measured from."""
    return digest([config.get(key) for key in (*keys_with(Role.MEASURED), *keys_with(Role.GATE), "baseline")])
