"""What a sweep needs to run on a cluster, and where on it a point ran."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

PLUGINS = {
    "hydra_plugins.segbench_slurm": ("slurm", "hydra_plugins.hydra_submitit_launcher", "sbatch"),
    "hydra_plugins.segbench_ray": ("ray", "hydra_plugins.hydra_ray_launcher", None),
}
"""The extra that a launcher's module needs, what the extra installs, and a command that must be there."""
JOB = "slurm_job"
"""The file in a sweep's folder with the number of its Slurm job."""


def why_not(launcher: str, target: str) -> str | None:
    """Why the choice `launcher`, of class `target`, cannot launch points from here; `None` where it can."""
    extra, package, command = PLUGINS.get(target.rpartition(".")[0], (None, "hydra_plugins", None))
    if find_spec(package) is None:
        return f"hydra/launcher={launcher} needs the extra {extra}: install segbench[{extra}]"
    if command and shutil.which(command) is None:
        return f"hydra/launcher={launcher} needs a machine with Slurm: there is no {command} here"
    return None


def note_job(folder: Path, job: str) -> None:
    """Note in a sweep's folder which Slurm job measures its points."""
    (folder / JOB).write_text(job, encoding="utf-8")


def still_running(folder: Path) -> str | None:
    """The Slurm job that still measures points of a sweep's folder, in words; `None` where there is none."""
    try:
        job = (folder / JOB).read_text(encoding="utf-8").strip()
        asked = ["squeue", "--noheader", f"--jobs={int(job)}"]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return f"Slurm job {job} still measures points of {folder}" if found.stdout.strip() else None
