"""A study's tables, from points whose figures are known."""

import math
from dataclasses import replace

import pytest
from known_points import points, record, table_points

from segbench.report.comparison import swept_keys
from segbench.report.points import Point, with_axes
from segbench.report.quantity import QUANTITIES
from segbench.report.study import TableSpec
from segbench.report.table import Table
from segbench.report.tables import tables, total

PARAMETERS = QUANTITIES["parameters"]


def headers(table: Table) -> list[str]:
    return [column.header for column in table.columns]


SPEC = TableSpec("latency", "Latency", ["channels"], "block", ["parameters", "latency", "ratio"], total="dw")


def test_a_table_is_bold_only_where_a_difference_can_be_told() -> None:
    (table,) = tables([SPEC], table_points(), compare="block")
    assert headers(table)[0] == "channels" and [column.group for column in table.columns] == [
        "",
        *["dw"] * 3,
        *["stm"] * 3,
    ]
    first, second = table.rows[:2]
    assert [cell.best for cell in first] == [False, True, True, True, False, False, False]
    assert not any(cell.best for cell in second), "equal parameters and latencies that cannot be told apart"
    assert second[6].signed.endswith("=")


def test_totals_and_their_quotients() -> None:
    (table,) = tables([SPEC], table_points(), compare="block")
    sums = table.rows[2]
    assert [cell.text for cell in sums[:2]] == ["total", "40"] and sums[4].text == "50"
    assert table.rows[3][4].text == "1.250"
    both = table.frame[table.frame["channels"] == "total"].set_index("block")
    assert both["latency_ms/median"].to_dict() == {"dw": 4.0, "stm": 5.0}
    assert both.loc["dw", "latency_ms/ci95_high"] == pytest.approx(4 + math.hypot(0.01, 0.03))


def test_a_sum_with_a_point_missing_is_no_sum() -> None:
    ok = table_points()[0]
    lost = replace(ok, record=replace(ok.record, status="failed", reason="so"))
    assert total(PARAMETERS, [ok, lost]) is None
    (table,) = tables([replace(SPEC, total=None)], [ok, replace(lost, axes={**ok.axes, "block": "stm"})], "block")
    assert [cell.text for cell in table.rows[0][4:]] == ["failed"] * 3


def test_csv_holds_raw_figures() -> None:
    (table,) = tables([replace(SPEC, total=None)], table_points(), "block")
    row = table.frame.iloc[1]
    assert row["latency_ms/ci95_low"] == 1.98 and row["ratio_to_baseline/median"] == 2.0 and row["status"] == "ok"


def test_points_that_differ_on_a_further_axis_are_all_shown() -> None:
    found = points(*(record(1.0, block=block, form=form) for block in ("dw", "stm") for form in ("train", "deploy")))
    (table,) = tables([TableSpec("t", "T", ["block"], None, ["latency"], total="dw")], found, None)
    assert headers(table)[:2] == ["block", "form"] and len(table.rows) == 4, "and no total"


def test_a_preset_is_compared_by_its_parts() -> None:
    """stage=a/enc1 against stage=b/enc1: the network is compared, the stage is the same."""
    records = [record(1.0, parameters=n, stage=f"{net}/enc{n % 2}") for n, net in ((1, "a"), (3, "b"))]
    found = with_axes([Point(each) for each in records], swept_keys(records), {"stage": ["network", "level"]})
    (table,) = tables([TableSpec("t", "T", ["level"], "network", ["parameters"])], found, "network")
    assert [cell.best for cell in table.rows[0]] == [False, True, False]


def test_there_is_no_total_over_unequal_rows() -> None:
    (table,) = tables([SPEC], table_points()[:3], compare="block")
    assert len(table.rows) == 2 and "total" not in table.frame["channels"].tolist()


def test_disturbed_timings_are_marked_and_never_bold() -> None:
    disturbed = {"steady": False, "contended": False}
    found = points(record(1.0, block="dw", verdicts=disturbed), record(2.0, block="stm"))
    (table,) = tables([TableSpec("t", "T", ["block"], None, ["latency"])], found, "block")
    assert table.rows[0][1].signed.endswith("!") and not table.rows[0][1].best


def test_wide_intervals_end_no_report() -> None:
    found = points(record(0.5, width=4.0, block="dw", channels=1), record(0.5, width=0.1, block="stm", channels=1))
    (table,) = tables([replace(SPEC, quantities=["latency"])], found, "block")
    assert table.rows[-1][2].text == "1.000 [0, inf]"


def test_machines_stand_side_by_side() -> None:
    found = points(record(1.0, block="dw"), record(2.0, block="dw", host="there"))
    (table,) = tables([TableSpec("t", "T", ["block"], None, ["latency"])], found, None)
    assert headers(table)[:2] == ["machine", "block"] and len(table.rows) == 2


def test_a_total_over_nothing_is_no_error() -> None:
    found = points(record(1.0, block="dw", channels=1, parameters=0), record(1.0, block="stm", channels=1))
    (table,) = tables([replace(SPEC, quantities=["parameters"])], found, "block")
    assert [cell.text for cell in table.rows[-1]] == ["total over dw", "", "inf"]


def test_shapes_are_axes_too() -> None:
    found = points(*(record(1.0, **{"input.shape": [1, 8, size]}) for size in (8, 16)))
    (table,) = tables([TableSpec("t", "T", ["input.shape"], None, ["latency"])], found, None)
    assert [row[0].text for row in table.rows] == ["[1, 8, 8]", "[1, 8, 16]"]
