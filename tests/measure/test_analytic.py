"""The working-set notebook's tables, to the last digit."""

import re

import pytest
from golden import tables

from segbench.measure.analytic import (
    MIB,
    arithmetic_intensity,
    bound,
    cache_level,
    dw_working_set,
    feature_maps,
    repconv_memory,
)

PUBLISHED = tables()["working_set"]
WIDTHS = [24, 48, 64, 96, 128, 192]


def stage(config: str) -> list[int]:
    """in, out and resolution of a row like 3->24@256."""
    return [int(number) for number in re.findall(r"\d+", config)]


def test_feature_maps() -> None:
    assert feature_maps(WIDTHS, 256) == PUBLISHED["feature_maps"]


@pytest.mark.parametrize("row", PUBLISHED["dw_working_set"], ids=lambda row: row["config"])
def test_dw_working_set(row: dict) -> None:
    found = dw_working_set(*stage(row["config"]))
    total = sum(found.values())
    assert found == row["bytes"]
    assert (total, total / MIB) == (row["total_bytes"], row["total_mb"])
    level = cache_level(total, l2_mib=1, l3_mib=8)
    assert level == row["bottleneck"]
    assert (level == "L2", level in ("L2", "L3")) == (row["fits_l2_1mb"], row["fits_l3_8mb"])


@pytest.mark.parametrize("row", PUBLISHED["repconv_memory"], ids=lambda row: str(row["channels"]))
def test_repconv_memory(row: dict) -> None:
    found = repconv_memory(row["channels"], row["res"])
    assert {key: row[key] for key in found if key != "reduction_pct"} == {
        key: value for key, value in found.items() if key != "reduction_pct"
    }
    assert found["reduction_pct"] == pytest.approx(row["reduction_pct"], rel=1e-12)
    assert (found["train_peak_bytes"] / MIB, found["deploy_peak_bytes"] / MIB) == (row["train_mb"], row["deploy_mb"])


@pytest.mark.parametrize(
    "row", PUBLISHED["arithmetic_intensity"], ids=lambda row: f"{row['config']}-{row['component']}"
)
def test_arithmetic_intensity(row: dict) -> None:
    flops, mem_bytes = arithmetic_intensity(*stage(row["config"]))[row["component"]]
    assert (flops, mem_bytes) == (row["flops"], row["mem_bytes"])
    assert flops / mem_bytes == row["ai"]
    assert bound(flops / mem_bytes) == row["bound"]
