"""A paper's bundle: records, report and commands in one folder. It is data: records as JSON, tables as text."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from segbench.base.files import write_json, write_text
from segbench.config.keys import Role
from segbench.config.overrides import readable, without
from segbench.point.record import FILE_NAME, load_sweep
from segbench.report.commands import SWEEP_FILE, command_of, overrides_of
from segbench.report.protocol import protocol
from segbench.report.report import Report, without_tracker, write_report

BUNDLE_FILE, BUNDLE_VERSION = "bundle.json", 1
SWEEPS = "sweeps"


def write_bundle(folders: Sequence[Path], report: Report, target: Path) -> Path:
    """Write the bundle of these sweeps; returns its README. `ValueError` where the folder is there already."""
    if target.exists() and any(target.iterdir()):
        raise ValueError(f"{target} is not empty: a bundle needs a folder of its own")
    sweeps = [{"overrides": _known_overrides(folder), "command": command_of(folder)} for folder in folders]
    target.mkdir(parents=True, exist_ok=True)
    records = []
    for number, folder in enumerate(folders):
        for name, record in load_sweep(folder)[0]:
            whole = json.loads((folder / name / FILE_NAME).read_text(encoding="utf-8"))
            copy = target / SWEEPS / str(number) / name
            copy.mkdir(parents=True)
            write_json(_shared(whole), copy / FILE_NAME)
            records.append(record)
    write_json({"version": BUNDLE_VERSION, "title": report.title, "sweeps": sweeps}, target / BUNDLE_FILE)
    write_report(report, target / "report")
    paragraph = protocol(records)
    write_text(paragraph + "\n", target / "measurement.txt")
    commits = list(dict.fromkeys(str(record.environment.get("commit")) for record in records))
    commands = [sweep["command"] for sweep in sweeps]
    readme = _readme(title=report.title, protocol=paragraph, commands=commands, commits=commits, name=target.name)
    write_text(readme, target / "README.md")
    return target / "README.md"


def _known_overrides(folder: Path) -> list[str]:
    """What was typed for a sweep. `ValueError` where its folder does not tell: its replay would be another sweep."""
    overrides = overrides_of(folder)
    if not overrides:
        raise ValueError(f"{folder} does not tell what was typed for it: {SWEEP_FILE} is missing or names no overrides")
    return overrides


def _shared(record: dict[str, Any]) -> dict[str, Any]:
    """A record without the address that it was sent to."""
    return {
        **record,
        "config": without_tracker(record["config"]),
        "overrides": without(readable(record["overrides"]), Role.LOCAL),
    }


def _readme(**facts: Any) -> str:
    environment = Environment(
        loader=PackageLoader("segbench.report", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("bundle.md.jinja").render(sweeps=SWEEPS, **facts)
