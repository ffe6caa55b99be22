"""Points as jobs of a Slurm cluster, by submitit and Hydra's plugin for it.

The plugin's own launcher raises when the first job dies and forgets the others, and submitit asks `sacct` for the
state of jobs, which clusters without an accounting database do not answer. Here every job is waited for, and `squeue`
is asked, which answers on all.
"""

import contextlib
import dataclasses
import io
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from omegaconf import OmegaConf

from segbench.sweep.launcher import ClusterLauncher, Overrides, last_line, without_result

JOB = "slurm_job"
"""The file in a sweep's folder with the number of its Slurm job."""
POLL_S = 1.0
"""Between two looks for results."""
STATES_S = 5.0
"""Between two questions to Slurm."""
GRACE_S = 10.0
"""Up to so long after its job ended, a result may take to show up in the shared folder."""
GONE = "UNKNOWN"
"""A job that ended so long ago that Slurm has forgotten it."""
ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", GONE)
"""States from which a job does not come back."""


class SlurmLauncher(ClusterLauncher):
    """One job for each point. `params` are submitit's; in `submitit_folder` it keeps the files of the jobs."""

    def __init__(self, submitit_folder: str, max_num_timeout: int, **params: Any) -> None:
        self.folder = submitit_folder
        self.max_num_timeout = max_num_timeout
        self.params = _without_nulls(OmegaConf.to_container(OmegaConf.create(params)))

    def launch(self, job_overrides: Overrides, initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the points and wait for all of them; cancel what is left where that is interrupted."""
        if not job_overrides:
            return []
        jobs = self._submit(job_overrides, initial_job_idx)
        array = jobs[0].job_id.partition("_")[0]
        Path(self.config.hydra.sweep.dir, JOB).write_text(array, encoding="utf-8")
        self.say(f"Slurm job {array}: {len(jobs)} points, logs in {self.folder}")
        try:
            results = self._collect(jobs, array, job_overrides)
        except BaseException:
            subprocess.run(["scancel", array], check=False)
            self.say(f"what was left of Slurm job {array} is cancelled")
            raise
        if not any(result.return_value.unrecorded for result in results):
            self._tidy(array)
        return results

    def _tidy(self, array: str) -> None:
        """Remove what these jobs exchanged, and the folder for it if nothing else is in it."""
        folder = Path(self.folder)
        for path in folder.glob(f"{array}_*"):
            path.unlink(missing_ok=True)
        for link in folder.glob(".submission_file_*.sh"):
            if not link.exists():  # it led to one of them
                link.unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()

    def _submit(self, job_overrides: Overrides, initial_job_idx: int) -> list[Any]:
        """Hand the points to Slurm. `HydraException` with the reason where it does not take them."""
        import submitit
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
        from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as Plugin

        point = Plugin()  # what a job calls
        point.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
        executor = submitit.AutoExecutor(self.folder, cluster="slurm", slurm_max_num_timeout=self.max_num_timeout)
        # what submitit's other engines take as well; a prefix tells Slurm's own
        shared = {field.name for field in dataclasses.fields(BaseQueueConf)}
        named = {name if name in shared else f"slurm_{name}": value for name, value in self.params.items()}
        count = len(job_overrides)
        try:
            executor.update_parameters(**named)
            with contextlib.redirect_stderr(io.StringIO()):  # what sbatch says is in the error as well
                return list(
                    executor.map_array(
                        point,
                        [list(overrides) for overrides in job_overrides],
                        ["hydra.sweep.dir"] * count,
                        range(initial_job_idx, initial_job_idx + count),
                        [""] * count,
                        [Singleton.get_state()] * count,
                    )
                )
        except ValueError as error:  # a parameter that sbatch does not have
            raise HydraException(f"hydra.launcher: {str(error).splitlines()[0]}") from error
        except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedSubmissionError) as error:
            raise HydraException(f"Slurm does not take the sweep: {last_line(error)}") from error

    def _collect(self, jobs: list[Any], array: str, job_overrides: Overrides) -> list[JobReturn]:
        """The points' results in order; each is shown when it comes, or when its job has ended without one."""
        results: dict[int, JobReturn] = {}
        ended: dict[int, float] = {}
        states: dict[str, str] | None = None
        asked = -STATES_S
        while len(results) < len(jobs):
            time.sleep(POLL_S)
            if time.monotonic() - asked > STATES_S:
                states, asked = _states(array, states), time.monotonic()
            for index, job in enumerate(jobs):
                if index in results:
                    continue
                state = "PENDING" if states is None else states.get(job.job_id, GONE)
                if job.paths.result_pickle.exists():
                    results[index] = _result(job)
                elif state not in ENDED:
                    ended.pop(index, None)
                elif time.monotonic() - ended.setdefault(index, time.monotonic()) > GRACE_S:
                    results[index] = without_result(f"no record: its Slurm job {job.job_id} ended as {state}")
                if index in results:
                    self.show(job_overrides[index], results[index])
        return [results[index] for index in range(len(jobs))]


def still_running(folder: Path) -> str | None:
    """The Slurm job that still measures points of a sweep's folder, in words; `None` where there is none."""
    try:
        job = (folder / JOB).read_text(encoding="utf-8").strip()
        asked = ["squeue", "--noheader", f"--jobs={int(job)}"]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return f"Slurm job {job} still measures points of {folder}" if found.stdout.strip() else None


def _without_nulls(value: Any) -> Any:
    """Leave out what is not asked for: submitit would pass it on."""
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value


def _result(job: Any) -> JobReturn:
    """What a job sent back: the point's result, or an error that came before the point."""
    try:
        result: JobReturn = job.results()[0]
        _ = result.return_value
    except Exception as error:
        return without_result(f"no record: Slurm job {job.job_id}: {last_line(error)}; see {job.paths.stderr}")
    return result


def _states(array: str, before: dict[str, str] | None) -> dict[str, str] | None:
    """The state of every job of an array; what was known before where Slurm does not answer."""
    asked = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T", f"--jobs={array}"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode and "Invalid job id" not in done.stderr:
        return before
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
