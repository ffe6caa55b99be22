"""Peak memory of RepConv at the six stages of the U-shape: the notebook's analytic count beside the traced one.

    uv run scripts/repconv_memory.py

The analytic count takes 7 maps to be alive at once in the training form and 2 in the deploy form. The traced peak is
what one step really holds, its result included and its input not.
"""

from __future__ import annotations

import torch
from rich.console import Console
from rich.table import Table

from segbench.config.compose import composed
from segbench.measure.analytic import map_bytes, repconv_memory
from segbench.measure.trace import trace_step
from segbench.point.prepare import build
from segbench.step.placed import in_form

MIB = 2**20


def traced_maps(channels: int, resolution: int, form: str) -> tuple[float, str]:
    """Traced peak in maps of this size, and the operator at which it occurs."""
    module = in_form(build(["block=repconv", f"channels={channels}"]), form)
    x = torch.ones(1, channels, resolution, resolution)
    with torch.inference_mode():
        trace = trace_step(lambda: module(x), module)
    assert trace.peak_operator is not None
    return trace.peak_bytes / map_bytes(channels, resolution), trace.operators[trace.peak_operator].name


def main() -> None:
    """Print the table."""
    places: set[str] = set()
    columns = ("stage", "map", "analytic\ntrain", "traced\ntrain", "analytic\ndeploy", "traced\ndeploy", "saves")
    table = Table(*columns)
    for number in range(1, 7):
        config = composed([f"stage=stage{number}"])
        channels, resolution = config.channels, config.resolution
        analytic = repconv_memory(channels, resolution)
        size = map_bytes(channels, resolution)
        (train, where), (deploy, there) = (traced_maps(channels, resolution, form) for form in ("train", "deploy"))
        places.add(f"training form: {where}, deploy form: {there}")
        cells = [analytic["train_peak_bytes"], train * size, analytic["deploy_peak_bytes"], deploy * size]
        table.add_row(
            f"{channels} x {resolution}²",
            f"{size / MIB:.4g}",
            *(f"{value / MIB:.4g} ({value / size:.3g})" for value in cells),
            f"{analytic['reduction_pct']:.1f}% / {100 * (1 - deploy / train):.1f}%",
        )
    console = Console(width=100)
    console.print("MiB (in maps); saves: by the analytic count / traced")
    console.print(table)
    console.print(f"The traced peak occurs at: {'; '.join(sorted(places))}")


if __name__ == "__main__":
    main()
