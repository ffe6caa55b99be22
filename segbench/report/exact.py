"""The working-set notebook's tables, from the widths and resolutions of a study's points. See `measure/analytic.py`."""

from collections.abc import Mapping, Sequence
from typing import Any

from segbench.measure.analytic import (
    FLOAT_BYTES,
    MIB,
    arithmetic_intensity,
    bound,
    cache_level,
    dw_working_set,
    feature_maps,
    repconv_memory,
)

Config = Mapping[str, Any]
Rows = list[dict[str, Any]]
DEFAULT_L2_MIB, DEFAULT_L3_MIB = 1, 8
"""The notebook's caches, where `machine.l2_mib` and `machine.l3_mib` are not set."""


def _stages(configs: Sequence[Config]) -> dict[tuple[int, int, int], str]:
    """In and out channels and resolution of every point, each once, with their names."""
    stages = ((config["in_channels"], config["channels"], config["resolution"]) for config in configs)
    return {stage: "{}->{}@{}".format(*stage) for stage in stages}


def _feature_maps(configs: Sequence[Config]) -> Rows:
    maps = feature_maps(configs[0]["widths"], max(config["resolution"] for config in configs))
    totals = {part: maps[f"{part}_total_bytes"] for part in ("encoder", "decoder")}
    empty = {"res": "", "ch": ""}
    return [*maps["encoder"], *maps["decoder"]] + [
        {**empty, "elements": total // FLOAT_BYTES, "layer": f"{part} total", "bytes": total}
        for part, total in totals.items()
    ]


def _working_sets(configs: Sequence[Config]) -> Rows:
    machine = configs[0].get("machine") or {}
    l2, l3 = machine.get("l2_mib") or DEFAULT_L2_MIB, machine.get("l3_mib") or DEFAULT_L3_MIB
    rows = []
    for stage, name in _stages(configs).items():
        sizes = dw_working_set(*stage)
        total = sum(sizes.values())
        level = cache_level(total, l2, l3)
        fits = {"fits_l2": level == "L2", "fits_l3": level in ("L2", "L3"), "bottleneck": level}
        rows.append({"config": name, **sizes, "total_bytes": total, "total_mb": total / MIB, **fits})
    return rows


def _repconv(configs: Sequence[Config]) -> Rows:
    rows = []
    for _, channels, resolution in _stages(configs):
        found = repconv_memory(channels, resolution)
        mebibytes = {f"{form}_mb": found[f"{form}_peak_bytes"] / MIB for form in ("train", "deploy")}
        rows.append({"channels": channels, "res": resolution, **found, **mebibytes})
    return rows


def _intensity(configs: Sequence[Config]) -> Rows:
    rows = []
    for stage, name in _stages(configs).items():
        for component, (flops, moved) in arithmetic_intensity(*stage).items():
            figures = {"flops": flops, "mem_bytes": moved, "ai": flops / moved, "bound": bound(flops / moved)}
            rows.append({"config": name, "component": component, **figures})
    return rows


EXACT_ROWS = {
    "feature_maps": _feature_maps,
    "dw_working_set": _working_sets,
    "repconv_memory": _repconv,
    "arithmetic_intensity": _intensity,
}
"""By the names that a study's tables use: what makes the rows from the configurations of its points."""
