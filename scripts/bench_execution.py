"""What compiled points cost once the compiler's cache is warm, and what the harness adds to ONNX Runtime's own call.

    uv run --extra onnx --extra openvino scripts/bench_execution.py

The second point of a fresh process that finds the inductor cache filled: from its start to its record. The harness: a
step as segbench times it, against `session.run_with_iobinding(binding)` in a plain loop, in turns. Exits 1 where a
target is missed.
"""

import statistics
import sys
import time
from functools import partial
from typing import Any

import torch

from segbench.config.compose import composed, instantiated, plain
from segbench.measure.clock import host_clock
from segbench.point.entry import try_out
from segbench.point.isolation import in_fresh_process
from segbench.point.task import build, make_input
from segbench.step.onnxruntime import OnnxRuntime
from segbench.step.placed import Placed, in_form

TARGET_COMPILE_S, TARGET_HARNESS_US = 5.0, 2.0
CALLS, TURNS = 50, 200


def compile_point_s() -> tuple[float, float, float]:
    """Seconds of a compiled point with a warm cache, of its first call, and how often the cache did not help."""
    point = partial(try_out, ["execution=compile", "timing=fixed_20_100"], process=0)
    in_fresh_process(point)
    start = time.perf_counter()
    metrics = in_fresh_process(point).result.metrics
    return time.perf_counter() - start, metrics["first_call/seconds"], metrics["first_call/cache_misses"]


def plain_loop_us(session: Any, binding: Any) -> float:
    """Microseconds of one call in a loop of nothing else."""
    start = time.perf_counter_ns()
    for _ in range(CALLS):
        session.run_with_iobinding(binding)
    return (time.perf_counter_ns() - start) / 1000 / CALLS


def harness_us() -> tuple[float, float]:
    """Microseconds of ONNX Runtime's own call, and what a step of segbench takes beyond it; medians over turns."""
    instantiated(plain(composed(["device.threads=1"]).device, resolve=True)).apply()
    module = in_form(build(["block=prcm", "channels=8"]), "deploy")
    step: Any = OnnxRuntime("none", None).set_up(Placed(module, make_input([8, 4, 4], 1, 0))).step
    session, binding = step.func.__self__, step.args[0]  # the step is the session's method with its binding
    pairs = [(plain_loop_us(session, binding), 1000 * host_clock(step, CALLS)[0]) for _ in range(TURNS)]
    own = statistics.median(plain for plain, _ in pairs)
    return own, statistics.median(ours - plain for plain, ours in pairs)


def main() -> None:
    """Measure and print."""
    point_s, first_s, misses = compile_point_s()
    with torch.inference_mode():
        own, added = harness_us()
    print(f"compiled point, warm cache       {point_s:8.2f} s   target {TARGET_COMPILE_S} s")
    print(f"  of it the first call           {first_s:8.2f} s   ({misses:.0f} cache misses)")
    print(f"ONNX Runtime's own call          {own:8.2f} us")
    print(f"the harness adds                 {added:8.3f} us  target {TARGET_HARNESS_US} us")
    sys.exit(point_s > TARGET_COMPILE_S or added > TARGET_HARNESS_US)


if __name__ == "__main__":
    main()
