"""Points as tasks of a Ray cluster, by Hydra's plugin for it.

The plugin's own launcher leaves the placing to Ray, which puts as many tasks on a node as it has cores, starts a
cluster where there is none, and ends with the first task that dies. Here each node measures one point at a time and has
nothing else to do meanwhile, and every point is waited for.
"""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from segbench.point.cluster import RAY_NODE
from segbench.sweep.launcher import ClusterLauncher, Overrides, last_line, without_result

POLL_S = 2.0
"""Between two looks for nodes that came or went."""
CONNECT_S = 10.0
"""Up to so long may the cluster's head take to answer."""


class RayLauncher(ClusterLauncher):
    """One task at a time on each node; `ray` holds the arguments of `ray.init` and of `ray.remote`."""

    def __init__(self, ray: DictConfig) -> None:
        plain: Any = OmegaConf.to_container(ray)
        self.init, self.remote = plain["init"], plain["remote"]

    def launch(self, job_overrides: Overrides, initial_job_idx: int) -> Sequence[JobReturn]:
        """Join the cluster, measure all points on it, and leave; that ends what is left where it is interrupted."""
        if not job_overrides:
            return []
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        try:
            _reach(self.init.get("address"))
            ray.init(**self.init)
        except (OSError, ValueError, RuntimeError) as error:
            raise HydraException(f"hydra/launcher=ray needs a running Ray cluster: {last_line(error)}") from error
        try:
            configs = [self._compose(overrides, initial_job_idx + i) for i, overrides in enumerate(job_overrides)]
            return self._measure(configs, job_overrides)
        finally:
            ray.shutdown()

    def _compose(self, overrides: Sequence[str], number: int) -> DictConfig:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return config

    def _measure(self, configs: list[DictConfig], job_overrides: Overrides) -> list[JobReturn]:
        """The points' results in order: whenever a node has nothing to do, it gets the next point."""
        import ray

        waiting = list(range(len(configs)))
        running: dict[Any, tuple[int, str]] = {}
        results: dict[int, JobReturn] = {}
        while waiting or running:
            busy = {node for _, node in running.values()}
            free = [node for node in ray.nodes() if _measures(node) and node["NodeID"] not in busy]
            for node in free[: len(waiting)]:
                index = waiting.pop(0)
                running[self._start(configs[index], node)] = index, node["NodeID"]
            if not running:  # no node has come yet, or all have gone
                time.sleep(POLL_S)
                continue
            ready, _ = ray.wait(list(running), timeout=POLL_S)
            for reference in ready:
                index, node_id = running.pop(reference)
                results[index] = _result(reference, node_id)
                self.show(job_overrides[index], results[index])
        return [results[index] for index in range(len(configs))]

    def _start(self, config: DictConfig, node: Mapping[str, Any]) -> Any:
        """Begin to measure a point on a node, of which it takes all processors and devices."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        has = node["Resources"]
        options = {
            "num_cpus": has["CPU"],
            "num_gpus": has.get("GPU", 0),
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            **self.remote,
        }
        task = ray.remote(**options)(measure_in)
        return task.remote(
            str(Path.cwd()), self.hydra_context, config, self.task_function, Singleton.get_state(), node["NodeID"]
        )


def measure_in(
    folder: str, hydra_context: Any, config: DictConfig, task_function: Any, singletons: Any, node_id: str
) -> JobReturn:
    """Measure a point in the folder that the sweep was started in; called by Ray in a process on the node."""
    from hydra_plugins.hydra_ray_launcher._launcher_util import _run_job

    os.chdir(folder)
    os.environ[RAY_NODE] = node_id
    result: JobReturn = _run_job(hydra_context, config, task_function, singletons)
    return result


def _reach(address: Any) -> None:
    """Raise `OSError` at once where no cluster answers at an address: Ray itself would try for many minutes."""
    from ray._private.services import canonicalize_bootstrap_address

    if address in (None, "auto"):
        address = os.environ.get("RAY_ADDRESS", "auto")
    if "://" in address or (found := canonicalize_bootstrap_address(address)) is None:
        return
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise OSError(
            f"{found if address == 'auto' else address} cannot be reached ({error.strerror or error})"
        ) from error


def _measures(node: Mapping[str, Any]) -> bool:
    """Whether points can be placed on a node."""
    return bool(node["Alive"] and node["Resources"].get("CPU"))


def _result(reference: Any, node_id: str) -> JobReturn:
    """What a task returned: the point's result, or what became of its process."""
    import ray

    try:
        result: JobReturn = ray.get(reference)
        _ = result.return_value
    except ray.exceptions.RayTaskError as error:
        return without_result(f"no record: on Ray node {node_id[:8]}: {last_line(error)}")
    except Exception as error:
        return without_result(f"no record: its process on Ray node {node_id[:8]} died ({type(error).__name__})")
    return result
