"""What a point costs beside its timed calls, and how fast the command line answers.

    python scripts/bench_overhead.py [--points 200]

Runs sweeps of a small block as a user would, with MLflow on a fresh SQLite store in a temporary folder.
Overhead of a point: from its start to the next point's, without its timed calls, so that everything a point
adds counts, composing the configuration and logging included. All in milliseconds, of one run.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from segbench.point.record import Record, load_sweep

ROOT = Path(__file__).resolve().parent.parent
TARGET_POINT_MS = 100.0
TARGET_HELP_S = 0.8


def run(arguments: list[str], folder: Path) -> float:
    """Wall time in seconds of one command line in `folder`."""
    start = time.perf_counter()
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return time.perf_counter() - start


def sweep(points: int, folder: Path) -> list[Record]:
    """Records of a sweep of `points` points that time every call they make."""
    timing = ["timing=fixed_50_100", "timing.warmup_calls=0", "timing.timed_calls=20", "device.threads=1"]
    run(["-m", "block=dw", "channels=24", f"seed=range(0,{points})", f"name=n{points}", *timing], folder)
    found, broken = load_sweep(next((folder / "outputs" / f"n{points}").iterdir()))
    assert len(found) == points and not broken
    return [record for _, record in found]


def timed_s(record: Record) -> float:
    """Seconds of the timed calls."""
    return sum(record.samples["latency_ms"]) / 1000


def periods_ms(records: list[Record]) -> list[float]:
    """Time from one point's start to the next's, without the timed calls, in milliseconds."""
    starts = [datetime.fromisoformat(record.started).timestamp() for record in records]
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    return [1000 * (gap - timed_s(record)) for gap, record in zip(gaps, records, strict=False)]


def main() -> None:
    """Measure and print; exit 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=200)
    points = parser.parse_args().points
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(["--help"], folder)
        help_s = statistics.median(run(["--help"], folder) for _ in range(5))
        records = sweep(points, folder)
    inside = statistics.median(1000 * (record.duration_s - timed_s(record)) for record in records)
    periods = periods_ms(records)[1:]  # the first pays for what is loaded once
    per_point = statistics.mean(periods)
    share = max(2, len(periods) // 5)
    first, last = (statistics.median(part) for part in (periods[:share], periods[-share:]))
    print(f"--help                        {help_s:8.2f} s   target {TARGET_HELP_S} s")
    print(f"overhead per point, mean      {per_point:8.1f} ms  target {TARGET_POINT_MS} ms   ({points} points)")
    print(f"  of it inside the point      {inside:8.1f} ms  (build, check, count, trace, describe)")
    print(f"first {share} points, median     {first:8.1f} ms")
    print(f"last {share} points, median      {last:8.1f} ms  ratio last / first {last / first:.2f}")
    sys.exit(per_point > TARGET_POINT_MS or help_s > TARGET_HELP_S)


if __name__ == "__main__":
    main()
