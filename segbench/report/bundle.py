"""A paper's bundle: records, report and commands in one folder, and the comparison of a replay with it.

A bundle is data: records as JSON, tables as text. What somebody else's bundle asks to run is checked first: only plain
choices and values of segbench's own configuration are replayed, nothing that names code, files or services.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segbench.base.files import write_json, write_text
from segbench.point.record import FILE_NAME, Record, disturbed, load_sweep
from segbench.report.commands import LEFT_OUT, SWEEP_FILE, command_of, overrides_of
from segbench.report.evidence import quotient
from segbench.report.points import Point, machine_of
from segbench.report.protocol import protocol
from segbench.report.quantity import QUANTITIES, Quantity
from segbench.report.report import Report, without_tracker, write_report
from segbench.report.rounding import significant
from segbench.report.tables import text_of

BUNDLE_FILE, BUNDLE_VERSION = "bundle.json", 1
SWEEPS = "sweeps"
TIMED = ("ratio", "latency")
EXACT = ("parameters", "parameters_train", "macs", "flops_torch", "flops", "peak_activation", "moved")
"""What must be the same on every machine."""
REPLAYED = {
    *("model", "block", "prcm", "decoder", "family", "stage", "variant", "study", "quick", "baseline", "seed", "form"),
    *("channels", "in_channels", "resolution", "batch_size", "widths", "input", "memory_format", "form_tolerance"),
    *("device", "precision", "execution", "phase", "mode", "timing", "analysis", "machine", "isolation", "processes"),
}
"""Groups and keys that a bundle may set; all of them choose among what is here, or give numbers."""
CHARACTERS = r"[\w./,:={}\[\]()' -]+"
NEVER_REPLAYED = ("custom", "target", "kwargs", "hydra", "tracker", "report", "short")
"""Words that could name code to run, places to write to, or services, wherever they stand."""


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
    target.mkdir(parents=True, exist_ok=True)
    sweeps, records = [], []
    for number, folder in enumerate(folders):
        found, _ = load_sweep(folder)
        for name, record in found:
            place = target / SWEEPS / str(number) / name
            place.mkdir(parents=True)
            whole = json.loads((folder / name / FILE_NAME).read_text(encoding="utf-8"))
            write_json(_shared(whole), place / FILE_NAME)
            records.append(record)
        sweeps.append({"overrides": _known_overrides(folder), "command": command_of(folder)})
    write_json({"version": BUNDLE_VERSION, "title": report.title, "sweeps": sweeps}, target / BUNDLE_FILE)
    write_report(report, target / "report")
    write_text(protocol(records) + "\n", target / "measurement.txt")
    write_text(_readme(report, sweeps, records, target.name), target / "README.md")
    return target / "README.md"


def _known_overrides(folder: Path) -> list[str]:
    """What was typed for a sweep. `ValueError` where its folder does not tell: its replay would be another sweep."""
    overrides = overrides_of(folder)
    if not overrides:
        raise ValueError(f"{folder} does not tell what was typed for it: {SWEEP_FILE} is missing or names no overrides")
    return overrides


def _shared(record: dict[str, Any]) -> dict[str, Any]:
    """A record without the address that it was sent to."""
    overrides = [override for override in record["overrides"] if not override.lstrip("+~").startswith("tracker")]
    return {**record, "config": without_tracker(record["config"]), "overrides": overrides}


def _readme(report: Report, sweeps: Sequence[dict[str, Any]], records: Sequence[Record], name: str) -> str:
    commits = dict.fromkeys(str(record.environment.get("commit")) for record in records)
    return "\n".join(
        [
            f"# {report.title}",
            "",
            protocol(records),
            "",
            "Made by",
            "",
            *(f"    {sweep['command']}" for sweep in sweeps),
            "",
            f"with segbench at commit {', '.join(commits)}. Measure it again, and compare, with that checked out:",
            "",
            f"    python scripts/paper.py replay {name}",
            "",
            "`report/report.html` is the report; the tables lie beside it as `*.csv`, `*.md` and `*.tex`, the plots as",
            f"`*.pdf`. `measurement.txt` is the paragraph above. `{SWEEPS}/` holds every record, with its raw samples",
            "and its configuration.",
            "",
        ]
    )


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
        require_harmless(override)
    return sweeps


def require_harmless(override: str) -> None:
    """Raise `ValueError` where an override is not plainly a choice or a number of segbench's own configuration."""
    key = override.partition("=")[0]
    plain = re.fullmatch(CHARACTERS, override) and not override.startswith("-") and "=" in override
    if not plain or key.partition(".")[0] not in REPLAYED or any(word in override for word in NEVER_REPLAYED):
        raise ValueError(f"{override} of the bundle is not replayed: it could run code or write elsewhere")


def replay(bundle: Path, output: Path) -> list[Path]:
    """Measure the bundle's sweeps again below `output`; returns their folders."""
    folders = []
    for number, overrides in enumerate(replayed_overrides(bundle)):
        folder = output / str(number)
        command = [sys.executable, "-m", "segbench", "-m", *overrides, f"hydra.sweep.dir={folder}"]
        subprocess.run(command, check=False)
        folders.append(folder)
    return folders


def differences(bundle: Path, folders: Sequence[Path]) -> list[Difference]:
    """Every figure of the bundle beside the replay's. Points are matched by what they were asked for."""
    found = []
    for number, folder in enumerate(folders):
        old = _by_request(load_sweep(bundle / SWEEPS / str(number))[0])
        new = _by_request(load_sweep(folder)[0])
        for request, record in old.items():
            found += _compared(request, record, new.get(request), comparisons=len(TIMED) * len(old))
    return found


def _by_request(records: Sequence[tuple[str, Record]]) -> dict[str, Record]:
    asked = {name: [o for o in record.overrides if not o.lstrip("+~").startswith(LEFT_OUT)] for name, record in records}
    return {" ".join(asked[name]): record for name, record in records}


def _compared(request: str, old: Record, new: Record | None, comparisons: int) -> list[Difference]:
    if new is None:
        return [Difference(request, "status", old.status, "not measured", False)]
    if "ok" not in (old.status, new.status) or old.status != new.status:
        return [Difference(request, "status", old.status, new.status, old.status == new.status)]
    rows = [_exact(request, QUANTITIES[name], old, new) for name in EXACT]
    rows += [_timed(request, QUANTITIES[name], old, new, comparisons) for name in TIMED]
    return [row for row in rows if row is not None]


def _exact(request: str, of: Quantity, old: Record, new: Record) -> Difference | None:
    before, after = of.of(old.metrics), of.of(new.metrics)
    if before is None:
        return None
    if after is None:
        return Difference(request, of.metric, significant(before.value, 12), "missing", False)
    old_text, new_text = (significant(estimate.value, 12) for estimate in (before, after))
    return Difference(request, of.metric, old_text, new_text, before.value == after.value)


def _timed(request: str, of: Quantity, old: Record, new: Record, comparisons: int) -> Difference | None:
    """Whether two measured figures can be told apart, the intervals widened for the number of comparisons.

    Contended or unsteady figures decide nothing, and latencies of two machines may differ as they like.
    """
    before, after = of.of(old.metrics), of.of(new.metrics)
    if before is None:
        return None
    found = quotient(Point({"run": "new"}, new), Point({"run": "old"}, old), _unpaired(of), comparisons)
    if after is None or found is None:
        return Difference(request, of.metric, text_of(of, before), "missing", False)
    agrees: bool | None = found.bounds[0] <= 1 <= found.bounds[1]
    elsewhere = of.metric == "latency_ms/median" and machine_of(old) != machine_of(new)
    if elsewhere or disturbed(old) or disturbed(new):
        agrees = None
    return Difference(request, of.metric, text_of(of, before), text_of(of, after), agrees)


def _unpaired(of: Quantity) -> Quantity:
    """The quantity by its own interval: an old and a new figure share no baseline run."""
    return replace(of, power=0)
