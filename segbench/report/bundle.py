"""A paper's bundle: records, report and commands in one folder, and the comparison of a replay with it.

A bundle is data: records as JSON, tables as text. What somebody else's bundle asks to run is checked first: only plain
choices and values of segbench's own configuration are replayed, nothing that names code, files or services.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segbench.base.files import write_json, write_text
from segbench.config.keys import KEYS, Role, has_role
from segbench.config.overrides import key_of, readable, without
from segbench.point.record import load_sweep, save
from segbench.report.comparison import SWEEP_FILE, command_of, overrides_of
from segbench.report.estimate import Estimate
from segbench.report.evidence import quotient
from segbench.report.formats import rendered
from segbench.report.points import Point, machine_of
from segbench.report.protocol import protocol
from segbench.report.quantity import LATENCY, QUANTITIES, RATIO, Quantity
from segbench.report.report import Report, without_tracker, write_report
from segbench.report.rounding import significant

BUNDLE_FILE, BUNDLE_VERSION = "bundle.json", 1
SWEEPS = "sweeps"
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


def write_bundle(folders: Sequence[Path], report: Report, target: Path) -> Path:
    """Write the bundle of these sweeps; returns its README. `ValueError` where the folder is there already."""
    if target.exists() and any(target.iterdir()):
        raise ValueError(f"{target} is not empty: a bundle needs a folder of its own")
    sweeps = []
    for folder in folders:
        sweeps.append({"overrides": overrides_of(folder), "command": command_of(folder)})
        if not sweeps[-1]["overrides"]:  # its replay would be another sweep
            missing = f"{SWEEP_FILE} is missing or names no overrides"
            raise ValueError(f"{folder} does not tell what was typed for it: {missing}")
    target.mkdir(parents=True, exist_ok=True)
    records = []
    for number, folder in enumerate(folders):
        for name, record in load_sweep(folder)[0]:
            copy = target / SWEEPS / str(number) / name
            copy.mkdir(parents=True)
            asked = without(readable(record.overrides), Role.LOCAL)
            save(replace(record, config=without_tracker(record.config), overrides=asked), copy)
            records.append(record)
    write_json({"version": BUNDLE_VERSION, "title": report.spec.title, "sweeps": sweeps}, target / BUNDLE_FILE)
    write_report(report, target / "report")
    paragraph = protocol(records)
    write_text(paragraph + "\n", target / "measurement.txt")
    commits = dict.fromkeys(str(record.environment.get("commit")) for record in records)
    facts = {"title": report.spec.title, "name": target.name, "commits": commits, "sweeps": sweeps, "folder": SWEEPS}
    write_text(rendered("bundle.md.jinja", protocol=paragraph, **facts), target / "README.md")
    return target / "README.md"


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
    sweeps = {output / str(number): asked for number, asked in enumerate(replayed_overrides(bundle))}
    for folder, asked in sweeps.items():
        command = [sys.executable, "-m", "segbench", "-m", *asked, f"hydra.sweep.dir={folder}"]
        subprocess.run(command, check=False)
    return list(sweeps)


def compare(bundle: Path, folders: Sequence[Path]) -> list[Difference]:
    """Every figure of the bundle beside the replay's. Points are matched by what they were asked for."""
    found: list[Difference] = []
    for number, folder in enumerate(folders):
        old, new = _by_request(bundle / SWEEPS / str(number)), _by_request(folder)
        for request, point in old.items():
            found += _compared(request, point, new.get(request), comparisons=len(TIMED) * len(old))
    return found


def _by_request(folder: Path) -> dict[str, Point]:
    """The points of a sweep by their overrides, less those that say where they ran."""
    records, _ = load_sweep(folder)
    return {" ".join(without(readable(record.overrides), Role.LOCAL)): Point(record) for _, record in records}


def _compared(request: str, old: Point, new: Point | None, comparisons: int) -> Iterator[Difference]:
    if new is None or not (old.ok and new.ok):
        ended, now = old.record.status, new.record.status if new else "not measured"
        yield Difference(request, "status", ended, now, ended == now)
        return
    for quantity in (*(QUANTITIES[name] for name in EXACT), *TIMED):
        before, after = old.estimate(quantity), new.estimate(quantity)
        if before is not None:
            agrees = _agree(quantity, old, new, comparisons) if after and quantity in TIMED else before == after
            yield Difference(request, quantity.metric, _text(quantity, before), _text(quantity, after), agrees)


def _text(quantity: Quantity, found: Estimate | None) -> str:
    if found is None:
        return "missing"
    return significant(found.value, DIGITS) if found.is_exact else quantity.text(found)


def _agree(quantity: Quantity, old: Point, new: Point, comparisons: int) -> bool | None:
    """Whether two measured figures cannot be told apart, the intervals widened for the number of comparisons.

    Contended or unsteady figures decide nothing, and latencies of two machines may differ as they like.
    """
    on_another_machine = quantity is LATENCY and machine_of(old.record) != machine_of(new.record)
    if on_another_machine or old.is_disturbed(quantity) or new.is_disturbed(quantity):
        return None
    unpaired = replace(quantity, power=0)  # an old and a new figure share no baseline run
    over = quotient(new, old, unpaired, comparisons)
    return over is not None and over.bounds[0] <= 1 <= over.bounds[1]
