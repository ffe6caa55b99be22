"""What a long sweep costs: overhead from the first points to the last, memory, and the start of a resume.

    uv run scripts/bench_sweep.py                  # 1,000 points, about 11 minutes

A sweep of cheap points into an embedded MLflow store, each with one short series of calls. The overhead of a point is
the time from one record to the next less the time that the point itself took; figures of the first hundred and the
last hundred are medians. The memory is what the process holds at those points. Then half of the records are taken
away, and the sweep is resumed: its start lasts until the first of the missing points begins.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from segbench.point.record import FILE_NAME, load_sweep
from segbench.sweep.folder import BEGUN

RUN = Path(__file__).resolve().parent.parent / "run.py"
QUICK = ("timing=fixed_20_100", "timing.warmup_calls=2", "timing.timed_calls=10", "device.threads=1")
WINDOW = 100
POLL_S = 0.05


def main() -> int:
    """Measure and say how it compares with the targets; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000)
    points = parser.parse_args().points
    folder = Path(tempfile.mkdtemp(prefix="bench-sweep-"))
    command = [sys.executable, str(RUN), "-m", "block=dw,stm", f"seed=range(0,{points // 2})", "channels=8", *QUICK]
    resident = _run(command, folder, points)
    sweep = next(folder.glob("outputs/*/*"))
    overhead = _overhead(sweep)
    first, last = (statistics.median(part) for part in (overhead[1:WINDOW], overhead[-WINDOW:]))
    early = statistics.median(resident[WINDOW // 2 : WINDOW]) / 2**20
    grown = statistics.median(resident[-WINDOW // 2 :]) / 2**20 - early
    start_s, left = _resumed(command, folder, sweep, points)
    print(f"{points} points")
    print(f"overhead of a point     first {WINDOW}: {first:6.1f} ms   last {WINDOW}: {last:6.1f} ms")
    met = [
        _say("overhead, last over first", last / first, "", 0.9, 1.1),
        _say("memory grown since the first hundred", grown, "MiB", -20, 20),
        _say(f"start of a resume, {left} of {points} points left", start_s, "s", 0, 10),
    ]
    shutil.rmtree(folder)
    return 0 if all(met) else 1


def _run(command: list[str], folder: Path, points: int) -> list[int]:
    """Run the sweep; returns the process's resident memory in bytes, read once for every point or so."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watched = psutil.Process(process.pid)
    resident: dict[int, int] = {}
    while process.poll() is None:
        if sweep := next(folder.glob("outputs/*/*"), None):
            done = len(list(sweep.iterdir()))
            resident[done] = watched.memory_info().rss
        time.sleep(POLL_S)
    if process.returncode:
        raise SystemExit(f"the sweep ended with {process.returncode}")
    return [resident[done] for done in sorted(resident) if done <= points]


def _overhead(sweep: Path) -> list[float]:
    """Milliseconds between the ends of two points, less what the later one took."""
    records = dict(load_sweep(sweep)[0])
    order = sorted(records, key=int)
    written = [(sweep / name / FILE_NAME).stat().st_mtime for name in order]
    return [
        1000 * (after - before - records[name].duration_s)
        for name, before, after in zip(order[1:], written, written[1:], strict=False)
    ]


def _resumed(command: list[str], folder: Path, sweep: Path, points: int) -> tuple[float, int]:
    """Seconds until a resumed sweep measures, with every other record gone, and how many points were left to it."""
    gone = [sweep / str(number) for number in range(1, points, 2)]
    for point in gone:
        shutil.rmtree(point)
    began = time.monotonic()
    process = subprocess.Popen([*command, f"resume={sweep}"], cwd=folder, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (gone[0] / BEGUN).exists() and not (gone[0] / FILE_NAME).exists():
        time.sleep(POLL_S / 5)
    seconds = time.monotonic() - began
    process.terminate()
    process.wait()
    return seconds, len(gone)


def _say(what: str, value: float, unit: str, low: float, high: float) -> bool:
    met = low <= value <= high
    print(f"{what:<48}{value:8.2f} {unit:<4} target {low:g} to {high:g}: {'reached' if met else 'MISSED'}")
    return met


if __name__ == "__main__":
    sys.exit(main())
