"""Several studies one after the other: `study=all`, a folder of studies, or a list of them.

Each runs as a sweep in a process of its own, so that a crash ends one study only, and an index page links the reports.
"""

from __future__ import annotations

import difflib
import html
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from segbench.base.files import write_text
from segbench.config.compose import CONF_DIR
from segbench.point.record import REPORT_FOLDER, REPORT_PAGE
from segbench.sweep.folder import STATE

KEY = "study="
QUICK = "quick"
EXIT_REFUSED = 2


class UnknownStudyError(ValueError):
    """There is no such study."""


@dataclass(frozen=True)
class Done:
    """How a study ended: its name, its folder below the index, and its exit code."""

    name: str
    folder: Path
    code: int


def studies() -> list[str]:
    """The names of all studies, by their files in conf/study."""
    root = CONF_DIR / "study"
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.yaml"))


def expand(arguments: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """The studies that a command line asks for and its other arguments; `None` where it names one study or none.

    `UnknownStudyError` lists the studies where there is none of a name.
    """
    asked = [argument for argument in arguments if argument.startswith(KEY)]
    others = [argument for argument in arguments if not argument.startswith(KEY)]
    if len(asked) != 1:
        return None
    named = asked[0].removeprefix(KEY).split(",")
    known = studies()
    found = [
        study for name in named for study in known if name == "all" or study == name or study.startswith(f"{name}/")
    ]
    for name in named:
        if not _known(name, known):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UnknownStudyError(f"study={name} is not a choice: {hint}study is one of {', '.join(known)}, or all")
    if len(found) < 2:
        return None
    return list(dict.fromkeys(found)), others


def _known(name: str, known: Sequence[str]) -> bool:
    return name == "all" or any(study == name or study.startswith(f"{name}/") for study in known)


def with_quick(arguments: Sequence[str]) -> list[str]:
    """The arguments with the bare word `quick` as the override that it stands for."""
    return [f"{QUICK}=true" if argument == QUICK else argument for argument in arguments]


def run_all(names: Sequence[str], others: Sequence[str]) -> int:
    """Run the studies and write the index; returns 0 where all ended well, else the first other exit code."""
    root, others = folder_of(others)
    done: list[Done] = []
    for number, name in enumerate(names, start=1):
        print(f"Study {number} of {len(names)}: {name}", flush=True)
        folder = root / name
        resumed = [f"resume={folder}"] if (folder / STATE).is_file() else []
        command = [sys.executable, "-m", "segbench", f"{KEY}{name}", f"hydra.sweep.dir={folder}", *resumed, *others]
        done.append(Done(name, folder, subprocess.run(command, check=False).returncode))
        write_text(index(done, root), root / "index.html")
        if done[-1].code == EXIT_REFUSED:
            break  # what is wrong with the arguments is wrong for all
    print(f"Reports: {root / 'index.html'}")
    return next((study.code for study in done if study.code), 0)


def folder_of(others: Sequence[str]) -> tuple[Path, list[str]]:
    """The folder of all studies: a new one, or the one that `resume` asks for; and the arguments without that."""
    studies = Path("outputs") / "studies"
    asked = next((other.partition("=")[2] for other in others if other.startswith("resume=")), "false")
    rest = [other for other in others if not other.startswith("resume=")]
    new = studies / datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f")
    if asked.lower() in ("false", "null"):
        return new, rest
    if asked.lower() == "true":
        return max((path for path in studies.glob("*") if path.is_dir()), default=new), rest
    if not Path(asked).is_dir():
        raise UnknownStudyError(f"resume={asked} is not a folder of studies: use true, or a folder below {studies}")
    return Path(asked), rest


def index(done: Sequence[Done], root: Path) -> str:
    """The index page: a link to each report."""
    root.mkdir(parents=True, exist_ok=True)
    lines = []
    for study in done:
        page = study.folder / REPORT_FOLDER / REPORT_PAGE
        name = html.escape(study.name)
        link = (
            f'<a href="{html.escape(str(page.relative_to(root)))}">{name}</a>'
            if page.exists()
            else f"{name} (no report)"
        )
        lines.append(f"<li>{link}{'' if study.code == 0 else f' (exit code {study.code})'}</li>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>segbench studies</title></head>\n'
        f"<body><h1>Studies</h1>\n<ul>\n{chr(10).join(lines)}\n</ul></body></html>\n"
    )
