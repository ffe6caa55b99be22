"""What a study reports is checked key by key."""

import re
from typing import Any

import pytest
from known_points import lost, points, record, table_points

from segbench.report.study import parse, spec_for

TABLE = {"name": "t", "caption": "c", "rows": ["block"], "quantities": ["latency"]}
PLOT = {"name": "p", "kind": "line", "caption": "c", "x": "channels", "y": "latency"}
CLAIM = {"claim": "c", "source": "s", "quantity": "latency", "of": {}, "than": {}, "expect": "smaller"}
REPORTED = {"file": "volumes.csv", "quantity": "latency", "source": "s"}


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"title": "a"}, "report needs question"),
        ({"title": "a", "question": "b?", "colour": 1}, "report key=colour is not allowed"),
        ({"title": "a", "question": "b?", "plots": [{"kind": "pie"}]}, "report.plots[0] needs name: it has kind"),
        ({"title": "a", "question": "b?", "tables": [5]}, "report.tables[0]=5 is not allowed: it must be a dictionary"),
        (
            {"title": "a", "question": "b?", "tables": {"name": "t"}},
            "report.tables={'name': 't'} is not",
        ),
        ({"title": "a", "question": "b?", "tables": [{**TABLE, "name": "../../out"}]}, "name=../../out is not allowed"),
        ({"title": "a", "question": "b?", "tables": [TABLE, TABLE]}, "two of the same name"),
        ({"title": "a", "question": "b?", "tables": [{**TABLE, "rows": "block"}]}, "rows=block is not allowed"),
        ({"title": "a", "question": "b?", "tables": [{**TABLE, "rows": []}]}, "needs rows and quantities, or exact"),
        ({"title": "a", "question": "b?", "tables": [{**TABLE, "exact": "nonsense"}]}, "exact=nonsense is not allowed"),
        ({"title": "a", "question": "b?", "plots": [{**PLOT, "kind": "heatmap"}]}, "needs by"),
        ({"title": "a", "question": "b?", "plots": [{**PLOT, "name": "/etc/x"}]}, "name=/etc/x is not allowed"),
        ({"title": "a", "question": "b?", "reported": [{**REPORTED, "file": "../x.csv"}]}, "file=../x.csv is not"),
        ({"title": "a", "question": "b?", "claims": [{**CLAIM, "quantity": "mean"}]}, "has no interval"),
        ({"title": "a", "question": "b?", "claims": [{**CLAIM, "of": "dw"}]}, "of=dw is not allowed"),
        (
            {"title": "a", "question": "b?", "tables": [{"name": "t", "caption": "c", "quantities": ["x"]}]},
            "quantity=x",
        ),
    ],
)
def test_reports_are_checked_key_by_key(report: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse(report)


def test_a_sweep_of_which_no_point_was_measured_has_a_report() -> None:
    spec = spec_for([lost(point) for point in table_points()], "t")
    assert spec.tables[0].quantities == ["latency"] and not [plot for plot in spec.plots if plot.kind == "pareto"]


def test_a_sweep_over_an_option_has_a_report_with_files_named_by_it() -> None:
    spec = spec_for(points(*(record(1.0, **{"prcm.pool_size": size}) for size in (1, 2, 4))), "t")
    assert [plot.name for plot in spec.plots] == ["latency_over_prcm.pool_size"]
