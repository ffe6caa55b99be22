"""The working-set notebook's tables, from the widths and resolutions of a study's points. See `measure/analytic.py`."""

from collections.abc import Mapping, Sequence
from typing import Any

from segbench.base.checks import one_of
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


def exact_rows(name: str, configs: Sequence[Config]) -> Rows:
    """The rows of the table of this name. `ValueError` lists the names there are."""
    return TABLES[one_of("exact", name, TABLES)](configs)


def _stages(configs: Sequence[Config]) -> list[tuple[int, int, int]]:
    """In and out channels and resolution of every point, each once."""
    return list(dict.fromkeys((c["in_channels"], c["channels"], c["resolution"]) for c in configs))


def _name(stage: tuple[int, int, int]) -> str:
    return "{}->{}@{}".format(*stage)


def _feature_maps(configs: Sequence[Config]) -> Rows:
    maps = feature_maps(configs[0]["widths"], max(config["resolution"] for config in configs))
    rows: Rows = [*maps["encoder"], *maps["decoder"]]
    totals = [{"layer": f"{part} total", "bytes": maps[f"{part}_total_bytes"]} for part in ("encoder", "decoder")]
    return rows + [{"res": "", "ch": "", "elements": total["bytes"] // FLOAT_BYTES, **total} for total in totals]


def _working_sets(configs: Sequence[Config]) -> Rows:
    machine = configs[0].get("machine") or {}
    l2, l3 = machine.get("l2_mib") or DEFAULT_L2_MIB, machine.get("l3_mib") or DEFAULT_L3_MIB
    rows = []
    for stage in _stages(configs):
        sizes = dw_working_set(*stage)
        total = sum(sizes.values())
        level = cache_level(total, l2, l3)
        fits = {"fits_l2": level == "L2", "fits_l3": level in ("L2", "L3"), "bottleneck": level}
        rows.append({"config": _name(stage), **sizes, "total_bytes": total, "total_mb": total / MIB, **fits})
    return rows


def _repconv(configs: Sequence[Config]) -> Rows:
    rows = []
    for _, channels, resolution in _stages(configs):
        found = repconv_memory(channels, resolution)
        mebibytes = {f"{form}_mb": found[f"{form}_peak_bytes"] / MIB for form in ("train", "deploy")}
        rows.append({"channels": channels, "res": resolution, **found, **mebibytes})
    return rows


def _intensity(configs: Sequence[Config]) -> Rows:
    return [
        {
            "config": _name(stage),
            "component": component,
            "flops": flops,
            "mem_bytes": moved,
            "ai": flops / moved,
            "bound": bound(flops / moved),
        }
        for stage in _stages(configs)
        for component, (flops, moved) in arithmetic_intensity(*stage).items()
    ]


TABLES = {
    "feature_maps": _feature_maps,
    "dw_working_set": _working_sets,
    "repconv_memory": _repconv,
    "arithmetic_intensity": _intensity,
}
