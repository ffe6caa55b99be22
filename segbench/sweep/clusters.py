"""What a sweep needs to run on a cluster, and where on it a point ran."""

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from segbench.sweep.ending import RefusedError

NEEDS = {
    "SlurmLauncher": ("slurm", "hydra_plugins.hydra_submitit_launcher", "sbatch"),
    "RayLauncher": ("ray", "hydra_plugins.hydra_ray_launcher", None),
}
"""The extra that a launcher of ours needs, what the extra installs, and a command that must be there."""
JOB = "slurm_job"
"""The file in a sweep's folder with the number of its Slurm job."""


def check_launcher(launcher: str, target: str) -> None:
    """Raise `RefusedError` where the choice `launcher`, of class `target`, cannot launch points from here."""
    extra, package, command = NEEDS.get(target.rpartition(".")[2], (None, "hydra_plugins", None))
    if find_spec(package) is None:
        raise RefusedError(f"hydra/launcher={launcher} needs the extra {extra}: install segbench[{extra}]")
    if command and shutil.which(command) is None:
        raise RefusedError(f"hydra/launcher={launcher} needs a machine with Slurm: there is no {command} here")


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
