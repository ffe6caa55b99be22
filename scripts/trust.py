"""The proof that comparisons can be trusted on this machine: coverage, spread, and the smallest difference seen.

    uv run scripts/trust.py [--threads 2] [--comparisons 200] [--repetitions 25] [--detections 40]

Everything in one run, quiet and with a busy neighbour that the script starts itself:
(a) the share of comparisons of a block with itself whose 95% interval of the ratio contains 1;
(b) the spread (coefficient of variation) of the FastSTM/DW ratio at 64 channels, 64 x 64, over repetitions, for the
    notebooks' fixed protocol (20 + 100 calls, one block after the other, ratio of means), for segbench at equal time,
    and for segbench with 2 s a comparison;
(c) the time that each needs for a spread of 1%, from its spread at its own time by the square-root law;
(d) how often a copy that is 2% slower, and one that is not, are told apart within 5 s;
(e) what the harness itself costs: an empty step, and a process of its own for a point.
The methods of (b) take turns, repetition by repetition, so that the machine's moods meet them all.
Prints a table with the targets and exits 1 where one is missed.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from segbench.config.compose import composed, instantiated, plain
from segbench.measure.clock import host_clock, timer_floor_ms
from segbench.measure.latency import AdaptiveProtocol
from segbench.measure.session import Maker
from segbench.measure.statistics import RatioInterval, ratio_interval
from segbench.point.entry import try_out
from segbench.point.environment import describe
from segbench.point.isolation import in_fresh_process
from segbench.point.task import build
from segbench.step.inputs import make_input
from segbench.step.placed import Placed, in_form

CPU = torch.device("cpu")
NEIGHBOUR = "while True: sum(i * i for i in range(100000))"
NEVER = 1e-9
"""A target that is never reached: the whole budget is used."""


def progress(count: int, what: str) -> Iterable[int]:
    """Count with a bar that is drawn between comparisons only."""
    return track(range(count), what, transient=True, auto_refresh=False, disable=not sys.stderr.isatty())


def execution(block: str, seed: int = 0) -> Placed:
    """A deployed block at 64 channels on a 64 x 64 map."""
    module = in_form(build([f"block={block}", "channels=64", f"seed={seed}"]), "deploy")
    return Placed(module, make_input([64, 64, 64], batch_size=1, seed=seed))


def compare(point: Maker, baseline: Maker, budget_s: float, seed: int) -> RatioInterval:
    """One comparison by segbench within a budget, warm-up included."""
    protocol = AdaptiveProtocol(
        target_percent=NEVER,
        budget_s=0.9 * budget_s,
        warmup_budget_s=0.1 * budget_s,
        batch_s=min(0.05, budget_s / 20),
        fewest_batches=6,
        retries=0,
    )
    samples = protocol.measure([point, baseline], CPU, seed).samples
    batches = [int(batch) for batch in samples["batch"]]
    return ratio_interval(samples["latency_ms"], samples["baseline_latency_ms"], batches)


def fixed(step: Callable[[], object]) -> float:
    """Mean of 100 calls after 20, as the notebooks take it."""
    for _ in range(20):
        step()
    return statistics.mean(host_clock(step, 1)[0] for _ in range(100))


def slowed(execution: Placed, delay_ms: float) -> Maker:
    """Makes the execution's step with a busy wait after it."""

    def make() -> Callable[[], object]:
        step = execution.fresh_step()

        def slow() -> object:
            result = step()
            end = time.perf_counter_ns() + 1e6 * delay_ms
            while time.perf_counter_ns() < end:
                pass
            return result

        return slow

    return make


@contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """A process that keeps one core busy, where asked for."""
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR]) if busy else None
    try:
        time.sleep(1)
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def spread_percent(ratios: list[float]) -> float:
    """Coefficient of variation in percent."""
    return 100 * statistics.stdev(ratios) / statistics.mean(ratios)


def coverage(count: int) -> float:
    """Share of self-comparisons of 0.5 s whose interval contains 1, in percent."""
    point, baseline = execution("dw"), execution("dw", seed=1)
    hits = sum(
        not compare(point.fresh_step, baseline.fresh_step, 0.5, seed).distinguishable
        for seed in progress(count, "self-comparisons")
    )
    return 100 * hits / count


def spreads(count: int) -> dict[str, float]:
    """Spread of the FastSTM/DW ratio by each method, in percent, and the fixed protocol's time in seconds."""
    point, baseline = execution("faststm"), execution("dw")
    ratios: dict[str, list[float]] = {"fixed": [], "equal": [], "long": []}
    times: list[float] = []
    for seed in progress(count, "repetitions of three methods"):
        start = time.perf_counter()
        ratios["fixed"].append(fixed(point.step()) / fixed(baseline.step()))
        times.append(time.perf_counter() - start)
        for name, budget in (("equal", times[-1]), ("long", 2.0)):
            ratios[name].append(compare(point.fresh_step, baseline.fresh_step, budget, seed).middle)
    return {name: spread_percent(found) for name, found in ratios.items()} | {"seconds": statistics.mean(times)}


def detections(count: int, extra: float) -> float:
    """Share of comparisons of 5 s in which a copy slower by the share `extra` is told apart, in percent."""
    block = execution("dw")
    step = block.step()
    typical = statistics.median(host_clock(step, 1)[0] for _ in range(500))
    slower, same = slowed(block, extra * typical), slowed(block, 0.0)
    found = [compare(slower, same, 5.0, seed) for seed in progress(count, f"{100 * extra:g}%")]
    return 100 * sum(interval.distinguishable for interval in found) / count


def isolation_cost_s(count: int = 7) -> tuple[float, float]:
    """What a process of its own adds to a point, in seconds: of the first, and the median of the others."""
    overrides = ["timing=fixed_20_100", "timing.timed_calls=10"]

    def seconds(measure: Callable[[], object]) -> float:
        start = time.perf_counter()
        measure()
        return time.perf_counter() - start

    pairs = [
        (
            seconds(lambda: in_fresh_process(partial(try_out, overrides, process=0))),
            seconds(lambda: try_out(overrides)),
        )
        for _ in range(count)
    ]
    first, *others = (isolated - inside for isolated, inside in pairs)
    return first, statistics.median(others)


def measure(arguments: argparse.Namespace, busy: bool) -> list[tuple[str, str, str, bool]]:
    """Rows of the table for one state of the machine: what, found, target, reached."""
    state = "neighbour" if busy else "quiet"
    with neighbour(busy), torch.inference_mode():
        covered = coverage(arguments.comparisons)
        found = spreads(arguments.repetitions)
    most = 3.0 if busy else 1.0
    count, seconds, equal, long = arguments.comparisons, found["seconds"], found["equal"], found["long"]
    ratio = found["fixed"] / equal
    reach = {name: time_s * (found[name] / 1.0) ** 2 for name, time_s in (("fixed", seconds), ("long", 2.0))}
    return [
        (f"A/A coverage, {count} comparisons, {state}", f"{covered:.1f}%", "93 to 99%", 93 <= covered <= 99),
        (f"spread, segbench, 2 s a comparison, {state}", f"{long:.2f}%", f"<= {most:g}%", long <= most),
        (f"spread, fixed 20 + 100 ({seconds:.2f} s), {state}", f"{found['fixed']:.2f}%", "", True),
        (f"spread, segbench, the same {seconds:.2f} s, {state}", f"{equal:.2f}%", "", True),
        (f"fixed over segbench at equal time, {state}", f"{ratio:.1f}", ">= 5", ratio >= 5),
        (f"time for 1%: fixed / segbench, {state}", f"{reach['fixed']:.1f} / {reach['long']:.2f} s", "", True),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=None)
    for name, default in (("comparisons", 200), ("repetitions", 25), ("detections", 40)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    settings = plain(composed([]).device, resolve=True)
    instantiated(settings | {"threads": arguments.threads}).apply()
    rows = measure(arguments, busy=False) + measure(arguments, busy=True)
    with torch.inference_mode():
        seen, false = detections(arguments.detections, 0.02), detections(arguments.detections, 0.0)
    first_s, isolated_s = isolation_cost_s()
    floor_us = 1000 * timer_floor_ms(partial(host_clock), 1000)
    rows += [
        (f"2% slower copy told apart, {arguments.detections} runs of 5 s", f"{seen:.1f}%", ">= 95%", seen >= 95),
        (f"0% copy told apart, {arguments.detections} runs of 5 s", f"{false:.1f}%", "<= 7%", false <= 7),
        ("an empty step", f"{floor_us:.3f} us", "< 1 us", floor_us < 1),
        ("isolation, a point", f"{isolated_s:.2f} s", "<= 1.5 s", isolated_s <= 1.5),
        ("isolation, the first point of a sweep", f"{first_s:.2f} s", "", True),
    ]
    machine = describe()
    title = f"{machine['cpu']}, {machine['cores_physical']} cores, {machine['threads']} threads, {date.today()}"
    table = Table("what", "found", "target", "", title=f"{title}, Python {platform.python_version()}")
    for what, found, target, reached in rows:
        table.add_row(what, found, target, "" if not target else "reached" if reached else "MISSED")
    Console(width=100).print(table)
    sys.exit(not all(reached for *_, reached in rows))


if __name__ == "__main__":
    main()
