"""Hydra finds sweepers and launchers only here; those of segbench are built in `segbench.sweep`."""

from segbench.sweep import ray, slurm, sweeper


class SessionSweeper(sweeper.SessionSweeper):
    """hydra/sweeper=choices."""


class SlurmLauncher(slurm.SlurmLauncher):
    """hydra/launcher=submitit_slurm."""


class RayLauncher(ray.RayLauncher):
    """hydra/launcher=ray."""
