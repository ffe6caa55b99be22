"""Kill a sweep at random moments, resume it each time, and check that nothing is lost, doubled or left open.

    uv run scripts/survive.py                    # 100 kills, about 30 minutes
    uv run scripts/survive.py --kills 10 --seed 3

Three of four kills are SIGKILL, the others SIGTERM; a moment lies while the program starts, while a point is
measured, while a record is written (as soon as its temporary file is seen), or while it is sent to MLflow (as soon as
it is there). Everything happens in a folder of its own, which is kept where the check fails; exits with 1 then.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import track

from segbench.point.record import FILE_NAME, id_of, load_sweep
from segbench.sweep.folder import BEGUN
from segbench.tracking.runs import RECORD_TAG

RUN = Path(__file__).resolve().parent.parent / "run.py"
QUICK = ("timing=fixed_20_100", "timing.warmup_calls=2", "timing.timed_calls=10", "device.threads=1")
MOMENTS = {"starting": 1, "measuring": 3, "writing": 3, "sending": 3}
"""Kinds of moments, by how often each is tried."""
POINTS_A_KILL = 4
LONGEST_S = 300.0


@dataclass
class Found:
    """What the kills met, as the folder showed right after each, and what is wrong at the end."""

    kills: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def survive(folder: Path, kills: int, seed: int) -> Found:
    """Start a sweep in `folder`, kill and resume it so often, let it finish, and check what is there."""
    generator = random.Random(seed)
    points = POINTS_A_KILL * kills
    command = [sys.executable, str(RUN), "-m", "block=dw,stm", f"seed=range(0,{points // 2})", "channels=8", *QUICK]
    found = Found()
    sweep: Path | None = None
    for _ in track(range(kills), "kills", disable=not sys.stderr.isatty()):
        moment = generator.choices(list(MOMENTS), list(MOMENTS.values()))[0]
        how = generator.choice([signal.SIGKILL] * 3 + [signal.SIGTERM])
        process = _start([*command, *([f"resume={sweep}"] if sweep else [])], folder)
        _wait_for(moment, folder, process, generator)
        if process.poll() is None:
            found.kills[f"{how.name} while {moment}"] += 1
            process.send_signal(how)
        process.wait(LONGEST_S)
        sweep = sweep or next(folder.glob("outputs/*/*"), None)
        found.met.update(_met(folder))
    last = _start([*command, f"resume={sweep}"], folder)
    last.wait(20 * LONGEST_S)
    if last.returncode != 0:
        found.faults.append(f"the last start ended with {last.returncode}: {(folder / 'log').read_text()[-4000:]}")
    assert sweep
    found.faults += list(faults(sweep, folder / "mlflow.db", points))
    return found


def _start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=os.environ | {"HYDRA_FULL_ERROR": "1"})


def _wait_for(moment: str, folder: Path, process: subprocess.Popen[bytes], generator: random.Random) -> None:
    """Sleep until a moment of a kind has come, or the process has ended."""
    if moment == "starting":
        time.sleep(generator.uniform(0, 5))
        return
    before = _records(folder)
    pattern = {"measuring": BEGUN, "writing": f".{FILE_NAME}.*", "sending": FILE_NAME}[moment]
    until = time.monotonic() + LONGEST_S
    skipped = generator.randrange(POINTS_A_KILL)
    while process.poll() is None and time.monotonic() < until:
        if moment == "sending" and _records(folder) > before + skipped:
            break
        if moment != "sending" and _records(folder) >= before + skipped and _any(folder, pattern):
            break
    time.sleep({"measuring": generator.uniform(0, 0.2), "sending": generator.uniform(0, 0.1)}.get(moment, 0.0))


def _records(folder: Path) -> int:
    return sum(1 for _ in folder.glob(f"outputs/*/*/*/{FILE_NAME}"))


def _any(folder: Path, pattern: str) -> bool:
    return any(True for _ in folder.glob(f"outputs/*/*/*/{pattern}"))


def _met(folder: Path) -> Iterator[str]:
    """What a kill has left: a record half written, a point without one, a run that nobody ended."""
    import mlflow

    if _any(folder, f".{FILE_NAME}.*"):
        yield "half a record"
    if _any(folder, BEGUN):
        yield "a point without a record"
    if not (folder / "mlflow.db").is_file():
        return
    with suppress(Exception):  # killed while the store was made: the next start makes the rest
        client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
        experiment = client.get_experiment_by_name("segbench")
        open_runs = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
        kinds = {run.data.tags["segbench.kind"] for run in open_runs}
        yield from (f"the run of a {kind} left open" for kind in kinds)


def faults(sweep: Path, store: Path, points: int) -> Iterator[str]:
    """What is wrong with a finished sweep: records or runs that are missing, doubled, broken or not ended."""
    import mlflow

    records, broken = load_sweep(sweep)
    yield from broken
    asked = Counter(json.dumps(sorted(record.overrides)) for _, record in records)
    if len(asked) != points or set(asked.values()) != {1}:
        yield f"{len(records)} records of {len(asked)} points, where {points} were asked for"
    if others := [record.status for _, record in records if record.status != "ok"]:
        yield f"points that did not end ok: {Counter(others)}"
    client = mlflow.MlflowClient(f"sqlite:///{store}")
    experiment = client.get_experiment_by_name("segbench").experiment_id
    runs = [*_all_runs(client, experiment)]
    children = [run for run in runs if run.data.tags["segbench.kind"] == "point"]
    if Counter(run.data.tags[RECORD_TAG] for run in children) != Counter(id_of(sweep / name) for name, _ in records):
        yield f"{len(children)} runs for {len(records)} records, or others"
    if len(runs) - len(children) != 1:
        yield f"{len(runs) - len(children)} runs of sweeps, where there is one sweep"
    if others := [run.info.status for run in runs if run.info.status != "FINISHED"]:
        yield f"runs that are not finished: {Counter(others)}"
    incomplete = [run for run in children if len(run.data.metrics) < 10 or not run.data.params]
    if incomplete:
        yield f"{len(incomplete)} runs without their metrics or parameters"


def _all_runs(client: Any, experiment: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment], page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def main() -> int:
    """Kill, check and say what was found; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="survive-"))
    found = survive(folder, arguments.kills, arguments.seed)
    for title, counts in (("killed with", found.kills), ("met by a kill", found.met)):
        for name, count in sorted(counts.items()):
            print(f"{title}  {name:<45}{count:>4}")
    if found.faults:
        print("\n".join(["FAULTS", *found.faults, f"kept: {folder}"]))
        return 1
    shutil.rmtree(folder)
    print(f"{sum(found.kills.values())} kills: every point has one record and one run, all whole and ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
