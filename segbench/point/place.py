"""Where on a cluster a point runs: its job and its node, as the engine tells the process."""

import os

RAY_NODE = "SEGBENCH_RAY_NODE"
"""Set in the processes that measure on Ray: the id of their node."""


def place() -> dict[str, str | None]:
    """The job and the node of the cluster that this process runs on; nothing outside of one."""
    if job := os.environ.get("SLURM_JOB_ID"):
        if array := os.environ.get("SLURM_ARRAY_JOB_ID"):  # as squeue shows it and scancel takes it
            job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"
        return {"slurm_job": job, "slurm_node": os.environ.get("SLURMD_NODENAME")}
    if node := os.environ.get(RAY_NODE):
        return {"ray_node": node}
    return {}
