"""A real Slurm of one node, from Debian's packages, in a folder of its own and on loopback alone."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
CONFIGURATION = """\
ClusterName=segbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2
ReturnToService=2
KillWait=2
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs={processors}
PartitionName=all Nodes=node Default=YES MaxTime=60
"""


def missing() -> str | None:
    """Why there can be no Slurm here."""
    absent = [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]
    if absent:
        return f"needs {', '.join(absent)}: apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "needs root, to start slurmd"


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Start the three daemons and wait for the node; yields the environment in which Slurm's commands find them."""
    ports = [free_port(), free_port()]
    processors = len(os.sched_getaffinity(0))
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            folder=folder,
            controller_port=ports[0],
            node_port=ports[1],
            processors=processors,
        )
    )
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    environment = {"SLURM_CONF": str(configuration), "PATH": _path()}
    munge = [f"--socket={folder}/munge.socket", f"--key-file={key}", f"--pid-file={folder}/munge.pid"]
    munge += [f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"]
    with ExitStack() as daemons:
        daemons.enter_context(daemon(folder, environment, "munged", "--foreground", "--force", *munge))
        daemons.enter_context(daemon(folder, environment, "slurmctld", "-D", "-c"))
        daemons.enter_context(daemon(folder, environment, "slurmd", "-D", "-c", "-N", "node"))
        _wait_for_node(folder, environment)
        yield environment


@contextmanager
def daemon(folder: Path, environment: dict[str, str], *command: str) -> Iterator[None]:
    """A process that lives as long as the block."""
    with (folder / f"{command[0]}.out").open("wb") as out:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_node(folder: Path, environment: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        asked = ["sinfo", "--noheader", "--format=%t"]
        done = subprocess.run(asked, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in sorted(folder.glob("*.out")))
    raise RuntimeError(f"Slurm does not start: {done.stdout} {done.stderr}\n{logs}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin"
