"""Several studies one after the other: `study=all`, a folder of studies, or a list of them.

Each runs as a sweep in a process of its own, so that a crash ends one study only, and an index page links the reports.
"""

import difflib
import html
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path

from segbench.base.files import write_text
from segbench.config.compose import CONF_DIR
from segbench.config.overrides import override, parsed, value_of
from segbench.point.record import REPORT_FOLDER, REPORT_PAGE
from segbench.sweep.ending import EXIT_REFUSED, RefusedError
from segbench.sweep.folder import STATE

QUICK = "quick"


def studies() -> list[str]:
    """The names of all studies, by their files in conf/study."""
    root = CONF_DIR / "study"
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.yaml"))


def several_studies(arguments: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """The studies that a command line asks for and its other arguments; `None` where it names one study or none.

    `RefusedError` lists the studies where there is none of a name.
    """
    asked = [argument for argument in arguments if argument.startswith("study=")]
    if len(asked) != 1:
        return None
    study = parsed(asked[0])
    named = list(study.sweep_string_iterator()) if study.is_sweep_override() else [str(study.value())]
    known = studies()
    found = {name: [each for each in known if name in ("all", each) or each.startswith(f"{name}/")] for name in named}
    for name in named:
        if not found[name]:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise RefusedError(f"study={name} is not a choice: {hint}study is one of {', '.join(known)}, or all")
    names = list(dict.fromkeys(chain.from_iterable(found.values())))
    return (names, [argument for argument in arguments if argument != asked[0]]) if len(names) > 1 else None


def run_all(names: Sequence[str], others: Sequence[str]) -> int:
    """Run the studies and write the index; returns 0 where all ended well, else the first other exit code."""
    root, others = folder_of(others)
    codes: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        print(f"Study {number} of {len(names)}: {name}", flush=True)
        folder = root / name
        resumed = [override("resume", str(folder))] if (folder / STATE).is_file() else []
        given = [override("study", name), override("hydra.sweep.dir", str(folder)), *resumed, *others]
        codes[name] = subprocess.run([sys.executable, "-m", "segbench", *given], check=False).returncode
        root.mkdir(parents=True, exist_ok=True)
        write_text(index(codes, root), root / "index.html")
        if codes[name] == EXIT_REFUSED:
            break  # what is wrong with the arguments is wrong for all
    print(f"Reports: {root / 'index.html'}")
    return next((code for code in codes.values() if code), 0)


def folder_of(others: Sequence[str]) -> tuple[Path, list[str]]:
    """The folder of all studies: a new one, or the one that `resume` asks for; and the arguments without that."""
    studies = Path("outputs") / "studies"
    asked = [other for other in others if other.startswith("resume=")]
    rest = [other for other in others if other not in asked]
    resume = value_of(asked[-1]) if asked else False
    new = studies / datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f")
    if resume in (False, None):
        return new, rest
    if resume is True:
        return max((path for path in studies.glob("*") if path.is_dir()), default=new), rest
    if not Path(str(resume)).is_dir():
        raise RefusedError(f"resume={resume} is not a folder of studies: use true, or a folder below {studies}")
    return Path(str(resume)), rest


def index(codes: Mapping[str, int], root: Path) -> str:
    """The index page: a link to the report of each study, and its exit code where it did not end well."""
    lines = []
    for study, code in codes.items():
        name, page = html.escape(study), f"{study}/{REPORT_FOLDER}/{REPORT_PAGE}"
        link = f'<a href="{html.escape(page)}">{name}</a>' if (root / page).exists() else f"{name} (no report)"
        lines.append(f"<li>{link}{f' (exit code {code})' if code else ''}</li>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>segbench studies</title></head>\n'
        f"<body><h1>Studies</h1>\n<ul>\n{chr(10).join(lines)}\n</ul></body></html>\n"
    )
