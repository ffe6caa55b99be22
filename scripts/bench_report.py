"""How long a report over many records takes, and what share of it is reading them.

    uv run scripts/bench_report.py [--records 1000]

Measures one point, writes it so many times with other channels and blocks, and builds the report of the whole.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from segbench.config.compose import composed
from segbench.point.entry import measure_point, understand
from segbench.point.record import save
from segbench.report.points import load_points
from segbench.report.report import build_report, write_report

BLOCKS = ("dw", "stm", "faststm", "jeongwon", "cmunext")


def main() -> None:
    """Write records, read them, report on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1000)
    count = parser.parse_args().records
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "sweep"
        overrides = ["block=dw", "channels=8", "baseline={block:stm}", "timing=quick"]
        record, _ = measure_point(understand(composed(overrides), overrides, {"block": "dw"}))
        for number in range(count):
            block, channels = BLOCKS[number % len(BLOCKS)], 8 + 2 * (number // len(BLOCKS))
            point = sweep / str(number)
            point.mkdir(parents=True)
            changed = {"block": block, "channels": channels}
            asked = [f"{key}={value}" for key, value in changed.items()]
            save(replace(record, overrides=asked, parameters=record.parameters | changed), point)
        samples = sum(len(series) for series in record.samples.values())
        start = time.perf_counter()
        load_points([sweep])
        read_s = time.perf_counter() - start
        start = time.perf_counter()
        write_report(build_report([sweep]), sweep / "report")
        whole_s = time.perf_counter() - start
    print(f"{count} records with {samples} samples each: report in {whole_s:.1f} s, {read_s:.1f} s of it reading")


if __name__ == "__main__":
    main()
