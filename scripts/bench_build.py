"""How long it takes to build a module from a composed configuration, weights included.

    uv run scripts/bench_build.py

Median of several builds in one process, in milliseconds; exit 1 where a target is missed.
"""

from __future__ import annotations

import statistics
import sys
import time

from hydra import compose, initialize_config_dir

from segbench.config.compose import CONF_DIR
from segbench.point.prepare import build_module

BLOCK_MS, LARGEST_MS = 20.0, 500.0
BLOCKS = sorted(path.stem for path in (CONF_DIR / "block").glob("*.yaml"))


def build_ms(overrides: list[str]) -> float:
    """Median time of seven builds, after one that pays for imports."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("config", overrides)
    build_module(config)
    times: list[float] = []
    for _ in range(7):
        start = time.perf_counter()
        build_module(config)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    """Measure every block and the largest network, and print."""
    worst = max((build_ms([f"block={block}", "channels=192"]), block) for block in BLOCKS)
    largest = build_ms(["model=cmunext_l"])
    print(f"slowest block, {worst[1]} at 192 channels   {worst[0]:6.1f} ms   target {BLOCK_MS} ms")
    print(f"cmunext_l                             {largest:6.1f} ms   target {LARGEST_MS} ms")
    sys.exit(worst[0] > BLOCK_MS or largest > LARGEST_MS)


if __name__ == "__main__":
    main()
