"""Whether ratios can be trusted in every execution: each against itself, and each beside eager against each alone.

    uv run --extra onnx --extra openvino scripts/trust_executions.py [--comparisons 8]

Prints for every execution that this machine has the share of comparisons of a block with itself whose 95% interval
contains 1 (an interval is worth its name from 93% on), and its latency beside an eager baseline over its latency alone.
Exits 1 where an execution covers less than 60%: of 8 true intervals so few contain 1 in one of 400 runs or less.
"""

import argparse
import sys
from datetime import date

from rich.console import Console
from rich.progress import track
from rich.table import Table

from segbench.config.compose import CONF_DIR
from segbench.measure.result import Result
from segbench.point.entry import try_out
from segbench.point.environment import describe

BLOCKS = (["channels=8", "resolution=16"], ["channels=64", "resolution=64"])
LEAST_PERCENT = 60


def measured(*overrides: str) -> Result | None:
    """What is found of a DWBlock in a second; `None` where this machine does not have it."""
    whole = ["block=dw", "timing=quick", "timing.budget_s=1", *overrides]
    attempt = try_out(whole)
    return attempt.result if attempt.status == "ok" else None


def covers(result: Result) -> bool:
    """Whether the interval of the ratio contains 1."""
    return not result.verdicts["distinguishable"]


def beside_over_alone(execution: str) -> float:
    """The latency beside an eager baseline over the latency without."""
    beside = measured(BLOCKS[1][0], BLOCKS[1][1], f"execution={execution}", "baseline={execution:eager}")
    alone = measured(*BLOCKS[1], f"execution={execution}")
    assert beside is not None and alone is not None
    return beside.metrics["latency_ms/median"] / alone.metrics["latency_ms/median"]


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=8)
    count = parser.parse_args().comparisons
    table = Table("execution", *(f"A/A coverage\n{' '.join(block)}" for block in BLOCKS), "beside eager\nover alone")
    reached = True
    for execution in sorted(path.stem for path in (CONF_DIR / "execution").glob("*.yaml")):
        if measured(*BLOCKS[0], f"execution={execution}") is None:
            continue
        shares = []
        for block in BLOCKS:
            itself = [*block, f"execution={execution}", f"baseline={{execution:{execution}}}"]
            found = [measured(*itself) for _ in track(range(count), execution, disable=not sys.stderr.isatty())]
            shares.append(100 * sum(covers(each) for each in found if each is not None) / count)
        reached &= min(shares) >= LEAST_PERCENT
        table.add_row(execution, *(f"{share:.0f}%" for share in shares), f"{beside_over_alone(execution):.2f}")
    machine = describe()
    table.title = f"{machine['cpu']}, {machine['threads']} threads, {count} comparisons each, {date.today()}"
    Console(width=100).print(table)
    sys.exit(not reached)


if __name__ == "__main__":
    main()
