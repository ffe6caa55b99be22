"""A bundle measured again, and every figure beside the bundle's.

What somebody else's bundle asks to run is checked first: only plain choices and values of segbench's own configuration
are replayed, nothing that names code, files or services.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segbench.config.keys import KEYS, Role, has_role
from segbench.config.overrides import key_of, readable, without
from segbench.point.record import Record, load_sweep
from segbench.report.bundle import BUNDLE_FILE, BUNDLE_VERSION, SWEEPS
from segbench.report.estimate import Estimate
from segbench.report.evidence import quotient
from segbench.report.points import Point
from segbench.report.quantity import LATENCY, QUANTITIES, RATIO, Quantity
from segbench.report.rounding import significant
from segbench.report.table import text_of

TIMED = (RATIO, LATENCY)
EXACT = ("parameters", "parameters_train", "macs", "flops_torch", "flops", "peak_activation", "moved")
"""What must be the same on every machine."""
DIGITS = 12
CHARACTERS = r"[\w./,:={}\[\]()' -]+"
NOT_REPLAYED = {"custom", "target", "kwargs", *(key for key, role in KEYS.items() if Role.REPLAYED not in role)}
"""Words that could name code to run, places to write to, or services, wherever they stand in an override."""


@dataclass(frozen=True)
class Difference:
    """A figure of the bundle beside the replay's; `agrees` is `None` where that cannot be said."""

    point: str
    quantity: str
    old: str
    new: str
    agrees: bool | None


def replayed_overrides(bundle: Path) -> list[list[str]]:
    """What the bundle's sweeps were asked for. `ValueError` where that is no bundle, or not to be run unseen."""
    try:
        found = json.loads((bundle / BUNDLE_FILE).read_text(encoding="utf-8"))
        sweeps = [[str(override) for override in sweep["overrides"]] for sweep in found["sweeps"]]
        version = found["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{bundle} is no bundle: {error}") from error
    if version != BUNDLE_VERSION:
        raise ValueError(f"{bundle} is of version {version}: this is {BUNDLE_VERSION}")
    for override in (override for sweep in sweeps for override in sweep):
        if not _is_harmless(override):
            raise ValueError(f"{override} of the bundle is not replayed: it could run code or write elsewhere")
    return sweeps


def _is_harmless(override: str) -> bool:
    """Whether an override is plainly a choice or a number of segbench's own configuration."""
    words = {*re.split(r"\W+", override), *re.split(r"[\W_]+", override)}
    plain = re.fullmatch(CHARACTERS, override) and not words & NOT_REPLAYED and readable([override])
    return bool(plain) and has_role(key_of(override), Role.REPLAYED)


def replay(bundle: Path, output: Path) -> list[Path]:
    """Measure the bundle's sweeps again below `output`; returns their folders."""
    folders = []
    for number, overrides in enumerate(replayed_overrides(bundle)):
        folder = output / str(number)
        command = [sys.executable, "-m", "segbench", "-m", *overrides, f"hydra.sweep.dir={folder}"]
        subprocess.run(command, check=False)
        folders.append(folder)
    return folders


def compare(bundle: Path, folders: Sequence[Path]) -> list[Difference]:
    """Every figure of the bundle beside the replay's. Points are matched by what they were asked for."""
    found: list[Difference] = []
    for number, folder in enumerate(folders):
        old = _by_request(load_sweep(bundle / SWEEPS / str(number))[0])
        new = _by_request(load_sweep(folder)[0])
        for request, point in old.items():
            found += _compared(request, point, new.get(request), comparisons=len(TIMED) * len(old))
    return found


def _by_request(records: Sequence[tuple[str, Record]]) -> dict[str, Point]:
    """Points by their overrides, less those that say where they ran."""
    return {" ".join(without(readable(record.overrides), Role.LOCAL)): Point(record) for _, record in records}


def _compared(request: str, old: Point, new: Point | None, comparisons: int) -> list[Difference]:
    status = old.record.status
    if new is None:
        return [Difference(request, "status", status, "not measured", False)]
    if not (old.ok and new.ok):
        return [Difference(request, "status", status, new.record.status, status == new.record.status)]
    found = []
    for quantity in (*(QUANTITIES[name] for name in EXACT), *TIMED):
        before, after = old.estimate(quantity), new.estimate(quantity)
        if before is not None:
            agrees = _agree(quantity, old, new, comparisons) if after and quantity in TIMED else before == after
            found.append(Difference(request, quantity.metric, _text(quantity, before), _text(quantity, after), agrees))
    return found


def _text(quantity: Quantity, found: Estimate | None) -> str:
    if found is None:
        return "missing"
    return significant(found.value, DIGITS) if found.is_exact else text_of(quantity, found)


def _agree(quantity: Quantity, old: Point, new: Point, comparisons: int) -> bool | None:
    """Whether two measured figures cannot be told apart, the intervals widened for the number of comparisons.

    Contended or unsteady figures decide nothing, and latencies of two machines may differ as they like.
    """
    elsewhere = quantity is LATENCY and old.machine != new.machine
    if elsewhere or old.is_disturbed(quantity) or new.is_disturbed(quantity):
        return None
    unpaired = replace(quantity, power=0)  # an old and a new figure share no baseline run
    over = quotient(new, old, unpaired, comparisons)
    return over is not None and over.bounds[0] <= 1 <= over.bounds[1]
