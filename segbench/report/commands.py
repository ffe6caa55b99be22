"""The command that made a sweep, read back from what Hydra left in its folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

SWEEP_FILE = "multirun.yaml"
LEFT_OUT = ("tracker", "hydra", "resume", "retry")
"""Beginnings of overrides that say how and where a sweep runs and not what it measures; some may be secret."""


def overrides_of(folder: Path) -> list[str]:
    """What was typed; empty where the sweep's file is missing or is none."""
    try:
        found: Any = yaml.safe_load((folder / SWEEP_FILE).read_text(encoding="utf-8"))
        typed = [*found["hydra"]["overrides"]["hydra"], *found["hydra"]["overrides"]["task"]]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return []
    return [str(override) for override in typed if not str(override).lstrip("+~").startswith(LEFT_OUT)]


def command_of(folder: Path) -> str:
    """The command line that repeats the sweep; empty where its folder does not tell."""
    typed = overrides_of(folder)
    if not typed:
        return ""
    study = any(override.startswith(("study=", "family=")) for override in typed)
    return " ".join(["python run.py", *([] if study else ["-m"]), *map(shlex.quote, typed)])
