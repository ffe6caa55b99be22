"""What was typed for a sweep, and along which axes it varied, as its folder tells."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from segbench.config.keys import Role
from segbench.config.overrides import key_of, readable, without

SWEEP_FILE, STATE_FILE = "multirun.yaml", "sweep.json"
SWEEPS_ALONE = ("study", "family")
"""Keys that sweep without `-m`."""


def overrides_of(folder: Path) -> list[str]:
    """What was typed, but where it ran and was sent to; empty where the sweep's file is missing or is none."""
    try:
        found: Any = yaml.safe_load((folder / SWEEP_FILE).read_text(encoding="utf-8"))
        typed = [*found["hydra"]["overrides"]["hydra"], *found["hydra"]["overrides"]["task"]]
        return without(readable(typed), Role.LOCAL)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return []


def command_of(folder: Path) -> str:
    """The command line that repeats the sweep; empty where its folder does not tell."""
    typed = overrides_of(folder)
    multirun = [] if any(key_of(override) in SWEEPS_ALONE for override in typed) else ["-m"]
    return shlex.join(["python", "run.py", *multirun, *typed]) if typed else ""


def axes_of(folders: Sequence[Path]) -> list[str] | None:
    """The axes that a single sweep wrote down; `None` of several together, and of one that wrote down none."""
    try:
        (folder,) = folders
        axes = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["axes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return axes if isinstance(axes, list) and axes and all(isinstance(axis, str) for axis in axes) else None
