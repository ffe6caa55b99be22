"""A real Ray cluster of two nodes on this machine, on loopback alone and without usage statistics.

Run as a program it is the cluster: it prints its address and lives until its standard input ends.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # as there, nodes have the address 127.0.0.1 and listen nowhere else
}


def missing() -> str | None:
    """Why there can be no Ray here."""
    return None if find_spec("ray") else "needs the extra ray"


@contextmanager
def ray_cluster() -> Iterator[dict[str, str]]:
    """Start the cluster; yields the environment in which Ray finds it."""
    environment = {**os.environ, **ENVIRONMENT}
    command = [sys.executable, __file__]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    try:
        yield {**ENVIRONMENT, "RAY_ADDRESS": process.stdout.readline().strip()}
    finally:
        process.stdin.close()
        try:
            process.wait(60)
        finally:
            process.kill()


def main() -> None:
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
