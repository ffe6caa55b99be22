"""Points of a sweep that are the same measurement: what differs between them changes nothing, which is answered."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segbench.config.keys import Role, keys_with
from segbench.config.overrides import key_of
from segbench.point.identity import digest
from segbench.point.record import FILE_NAME, load, order_of
from segbench.sweep.folder import BEGUN, read_sweep

_met: dict[Path, dict[str, tuple[str, list[str]]]] = {}
"""The points in a sweep's folder, by their folders' names, that this process has read or measured: what they are
measured from, and their overrides."""


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
        if differ and _comes_first(folder.parent / name, folder):
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
    return digest([config.get(key) for key in (*keys_with(Role.MEASURED), "baseline")])


def _comes_first(other: Path, mine: Path) -> bool:
    if order_of(other.name) < order_of(mine.name):
        return True
    try:
        return other != mine and load(other / FILE_NAME).status == "ok"
    except (OSError, ValueError):
        return False
