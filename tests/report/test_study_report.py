"""Evidence, claims, tables, plots and pages, from points whose figures are known."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbench.point.record import Record, save
from segbench.report.claims import CONFIRMED, IN_PART, REFUTED, UNANSWERED, UNDECIDED, decide
from segbench.report.evidence import is_larger, is_smaller, quotient
from segbench.report.export import escape, latex, markdown
from segbench.report.nodes import nodes
from segbench.report.points import Point, load_points, with_axes
from segbench.report.quantity import QUANTITIES, Estimate
from segbench.report.report import build_report, page, write_report
from segbench.report.reported import reported
from segbench.report.study import ClaimSpec, PlotSpec, ReportedSpec, TableSpec, parse
from segbench.report.study_plots import pareto_front, plots
from segbench.report.style import looks
from segbench.report.tables import tables, total

LATENCY, RATIO, PARAMETERS = QUANTITIES["latency"], QUANTITIES["ratio"], QUANTITIES["parameters"]


def record(
    latency: float,
    ratio: float | None = None,
    width: float = 0.02,
    parameters: int = 100,
    host: str = "here",
    baseline: dict[str, Any] | None = None,
    verdicts: dict[str, bool] | None = None,
    **axes: Any,
) -> Record:
    """A point with a latency, an optional ratio to its baseline, and intervals of so much of their middles."""
    metrics = {"parameters/deploy": parameters, "latency_ms/n": 100, "error/vs_reference": 1e-7}
    for name, value in (("latency_ms", latency), ("ratio_to_baseline", ratio)):
        if value is not None:
            half = width * value / 2
            metrics |= {f"{name}/median": value, f"{name}/ci95_low": value - half, f"{name}/ci95_high": value + half}
    return Record(
        status="ok",
        reason=None,
        overrides=[f"{key}={value}" for key, value in axes.items()],
        parameters=axes,
        config={"baseline": baseline, "name": "test", "report": None, "precision": {}, "timing": {}},
        environment={"cpu": "a processor", "host": host, "cores_physical": 2},
        metrics=metrics,
        verdicts=verdicts or {"steady": True, "contended": False, "converged": True},
        started="2026-11-21T10:00:00.000+00:00",
    )


def points(*records: Record) -> list[Point]:
    return with_axes([Point({}, each, "sweep", str(index)) for index, each in enumerate(records)])


def test_the_spread_between_nodes_is_that_of_the_same_steps() -> None:
    base = {"block": "dw"}
    found = [
        record(1.0, 2.0, host="a", baseline=base, block="stm", channels=8, seed=0),
        record(1.1, 2.1, host="b", baseline=base, block="stm", channels=8, seed=1),
        record(3.0, 3.0, host="b", baseline=base, block="faststm", channels=8, seed=0),
        record(9.0, 3.0, host="a", baseline=base, block="faststm", channels=16, seed=0),
    ]
    timed = zip(found, (0.5, 0.6, 0.6, 2.0), strict=True)
    between = nodes(points(*(replace(r, metrics=r.metrics | {"baseline_latency_ms/median": ms}) for r, ms in timed)))
    assert between is not None and between.points == {"a": 2, "b": 2}
    assert [(spread.step, spread.nodes, spread.timings) for spread in between.spreads] == [
        ("block=stm channels=8", 2, 2),
        ("baseline block=dw channels=8", 2, 3),
    ]
    assert between.spreads[0].latency_percent == pytest.approx(10)
    assert between.spreads[0].ratio_percent == pytest.approx(5)
    assert between.spreads[1].latency_percent == pytest.approx(20)
    assert between.sentence.endswith("differs by up to 20.0%, its ratio to the baseline by up to 5.0%.")
    assert nodes(points(record(1.0, host="a", channels=8), record(1.0, host="a", channels=16))) is None
    alone = nodes(points(record(1.0, host="a", channels=8), record(1.0, host="b", channels=16)))
    assert alone is not None and "No step was timed on more than one node" in alone.sentence


def test_points_of_one_baseline_are_compared_through_it() -> None:
    """Medians say that b is slower; the ratios, taken beside the same block, say that it is faster."""
    baseline = {"block": "dw"}
    a, b, _ = points(
        record(1.0, 2.0, baseline=baseline, block="a"),
        record(1.5, 1.0, baseline=baseline, block="b"),
        record(1.0, 1.0, baseline=baseline, block="dw"),
    )
    found = quotient(b, a, LATENCY)
    assert found is not None and found.value == pytest.approx(0.5)
    assert is_smaller(found)


def test_a_point_and_its_baseline_are_compared_by_the_ratio_itself() -> None:
    baseline = {"block": "dw"}
    a, dw = points(record(9.0, 2.0, baseline=baseline, block="a"), record(1.0, 1.1, baseline=baseline, block="dw"))
    found, inverse = quotient(a, dw, LATENCY), quotient(dw, a, LATENCY)
    assert found == RATIO.of(a.record.metrics)
    assert inverse is not None and inverse.value == pytest.approx(0.5)
    assert inverse.bounds == pytest.approx((1 / 2.02, 1 / 1.98))


def test_points_with_baselines_of_their_own_are_compared_by_their_medians() -> None:
    """The baseline of a point at 24 channels is no baseline of one at 48."""
    baseline = {"block": "dw"}
    a, b = points(
        record(1.0, 3.0, baseline=baseline, block="stm", channels=24),
        record(2.0, 3.0, baseline=baseline, block="stm", channels=48),
    )
    found = quotient(a, b, LATENCY)
    assert found is not None and found.value == pytest.approx(0.5)


@given(a=st.floats(0.01, 100), b=st.floats(0.01, 100), width=st.floats(0.001, 0.5), times=st.integers(1, 50))
def test_quotients_turn_round_and_widen_with_the_number_of_comparisons(
    a: float, b: float, width: float, times: int
) -> None:
    first, second = points(record(a, width=width, block="a"), record(b, width=width, block="b"))
    found, inverse = quotient(first, second, LATENCY, times), quotient(second, first, LATENCY, times)
    assert found is not None and inverse is not None
    assert found.value == pytest.approx(a / b)
    assert found.bounds == pytest.approx((1 / inverse.bounds[1], 1 / inverse.bounds[0]))
    once = quotient(first, second, LATENCY)
    assert once is not None
    assert found.bounds[0] <= once.bounds[0] * (1 + 1e-12) and found.bounds[1] >= once.bounds[1] * (1 - 1e-12)


def test_rates_turn_the_direction() -> None:
    fast, slow = points(record(1.0, block="fast"), record(2.0, block="slow"))
    for point in (fast, slow):
        point.record.metrics["throughput_img_s"] = 1000 / point.record.metrics["latency_ms/median"]
    found = quotient(fast, slow, QUANTITIES["throughput"])
    assert found is not None and found.value == pytest.approx(2) and is_larger(found)


FASTER = ClaimSpec("a is faster than b", "a test", "latency", {"block": "a"}, "smaller", than={"block": "b"})


@pytest.mark.parametrize(
    ("latencies", "verdict", "settings"),
    [
        ([(1, 2), (1, 2)], CONFIRMED, 2),
        ([(1, 2), (2, 1)], REFUTED, 2),
        ([(1, 2), (1, 1.001)], UNDECIDED, 2),
        ([(2, 1)], REFUTED, 1),
        ([], UNANSWERED, 0),
    ],
)
def test_claims_are_decided_over_all_settings(
    latencies: list[tuple[float, float]], verdict: str, settings: int
) -> None:
    found = points(
        *(
            record(latency, block=block, channels=channels)
            for channels, pair in enumerate(latencies)
            for block, latency in zip("ab", pair, strict=True)
        )
    )
    finding = decide(FASTER, found)
    assert (finding.verdict, finding.settings) == (verdict, settings)


def test_disturbed_timings_decide_nothing_and_exact_figures_all_the_same() -> None:
    disturbed = {"steady": True, "contended": True}
    found = points(record(1.0, block="a", parameters=5, verdicts=disturbed), record(2.0, block="b", parameters=9))
    assert decide(FASTER, found).verdict == UNDECIDED
    assert "disturbed" in decide(FASTER, found).evidence
    lighter = replace(FASTER, quantity="parameters")
    assert decide(lighter, found).verdict == CONFIRMED


def lost(point: Point) -> Point:
    """The same point, failed."""
    return replace(point, record=replace(point.record, status="failed", reason="so", metrics={}))


def test_a_claim_is_confirmed_in_part_where_a_setting_was_not_measured() -> None:
    found = points(
        *(record(latency, block=block, channels=c) for c in (1, 2) for block, latency in (("a", 1), ("b", 2)))
    )
    assert decide(FASTER, found).verdict == CONFIRMED
    partly = decide(FASTER, [*found[:3], lost(found[3])])
    assert (partly.verdict, partly.settings) == (IN_PART, 1)
    assert "not measured: channels=2" in partly.evidence
    several = replace(FASTER, than={"block": ["b", "c"]})
    assert decide(several, found).verdict == IN_PART and "block=c" in decide(several, found).evidence


def test_an_axis_that_one_side_names_narrows_both() -> None:
    """a is faster than b in every stage, and slower in stage 2 than b in stage 1: the claim is of stages 2 and 3."""
    found = points(
        *(
            record(latency * stage**3, block=block, stage=stage)
            for stage in (1, 2, 3)
            for block, latency in (("a", 1), ("b", 2))
        )
    )
    narrowed = decide(replace(FASTER, of={"block": "a", "stage": [2, 3]}), found)
    assert (narrowed.verdict, narrowed.settings) == (CONFIRMED, 2)


def test_settings_with_a_slash_in_their_name_are_settings() -> None:
    """Twice as slow at each of two presets: a claim must not compare across them."""
    latencies = {("a", "pair/1"): 1, ("b", "pair/1"): 2, ("a", "pair/2"): 10, ("b", "pair/2"): 20}
    found = points(*(record(latency, block=block, stage=stage) for (block, stage), latency in latencies.items()))
    assert decide(FASTER, found).verdict == CONFIRMED


def test_speed_ups_are_compared_by_the_ratios_alone() -> None:
    baseline = {"mode": "baseline"}
    a, b = points(record(1.0, 0.5, baseline=baseline, mode="a"), record(2.0, 0.5, baseline=baseline, mode="b"))
    found = quotient(a, b, QUANTITIES["speedup"])
    assert found is not None and found.value == pytest.approx(1.0)


def test_measured_figures_without_an_interval_are_told_from_nothing() -> None:
    a, b = points(record(1.0, block="a"), record(1.0, block="b"))
    a.record.metrics["first_call/seconds"], b.record.metrics["first_call/seconds"] = 1.0, 2.0
    assert quotient(a, b, QUANTITIES["first_call"]) is None


@pytest.mark.parametrize(("a", "b", "found"), [(0, 5, 0.0), (5, 0, math.inf), (0, 0, 1.0), (6, 3, 2.0)])
def test_counts_may_be_zero(a: int, b: int, found: float) -> None:
    first, second = points(record(1.0, block="a", parameters=a), record(1.0, block="b", parameters=b))
    assert quotient(first, second, PARAMETERS) == Estimate(found)


@pytest.mark.parametrize(("value", "verdict"), [(100.0, CONFIRMED), (100.9, CONFIRMED), (60.0, REFUTED)])
def test_claims_of_a_value(value: float, verdict: str) -> None:
    claim = ClaimSpec("it has so many", "a test", "parameters", {"block": "a"}, "equal", value=value)
    assert decide(claim, points(record(1.0, block="a", parameters=100), record(1.0, block="b"))).verdict == verdict


def test_a_true_claim_over_many_settings_is_seldom_refuted() -> None:
    """Two equal blocks in 20 settings, 200 studies of normal noise: the intervals are widened for their number."""
    import numpy as np

    random = np.random.default_rng(0)
    refuted = 0
    for _ in range(200):
        noise = np.exp(random.normal(0, 0.01, size=(20, 2)))
        width = 2 * 1.96 * 0.01
        found = points(
            *(
                record(float(noise[i, j]), width=width, block=block, channels=i)
                for i in range(20)
                for j, block in enumerate("ab")
            )
        )
        refuted += decide(FASTER, found).verdict == REFUTED
    assert refuted <= 0.05 * 200 + 2 * math.sqrt(0.05 * 0.95 * 200)


def table_points() -> list[Point]:
    return points(
        record(1.0, 1.0, block="dw", channels=24, parameters=10, baseline={"block": "dw"}),
        record(2.0, 2.0, block="stm", channels=24, parameters=20, baseline={"block": "dw"}),
        record(3.0, 1.0, block="dw", channels=48, parameters=30, baseline={"block": "dw"}),
        record(3.0, 1.001, block="stm", channels=48, parameters=30, baseline={"block": "dw"}),
    )


SPEC = TableSpec("latency", "Latency", ["channels"], "block", ["parameters", "latency", "ratio"], total="dw")


def test_a_table_is_bold_only_where_a_difference_can_be_told() -> None:
    (table,) = tables([SPEC], table_points(), compare="block")
    assert table.header[0] == "channels" and table.groups == ["", *["dw"] * 3, *["stm"] * 3]
    first, second = table.rows[:2]
    assert [cell.best for cell in first] == [False, True, True, True, False, False, False]
    assert not any(cell.best for cell in second), "equal parameters and latencies that cannot be told apart"
    assert second[6].text.endswith("=")


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
    assert table.header[:2] == ["block", "form"] and len(table.rows) == 4, "and no total"


def test_a_preset_is_compared_by_its_parts() -> None:
    """stage=a/enc1 against stage=b/enc1: the network is compared, the stage is the same."""
    records = [record(1.0, parameters=n, stage=f"{net}/enc{n % 2}") for n, net in ((1, "a"), (3, "b"))]
    found = with_axes([Point({}, each) for each in records], {"stage": ["network", "level"]})
    (table,) = tables([TableSpec("t", "T", ["level"], "network", ["parameters"])], found, "network")
    assert [cell.best for cell in table.rows[0]] == [False, True, False]


def test_there_is_no_total_over_unequal_rows() -> None:
    (table,) = tables([SPEC], table_points()[:3], compare="block")
    assert len(table.rows) == 2 and "total" not in table.frame["channels"].tolist()


def test_disturbed_timings_are_marked_and_never_bold() -> None:
    disturbed = {"steady": False, "contended": False}
    found = points(record(1.0, block="dw", verdicts=disturbed), record(2.0, block="stm"))
    (table,) = tables([TableSpec("t", "T", ["block"], None, ["latency"])], found, "block")
    assert table.rows[0][1].text.endswith("!") and not table.rows[0][1].best


def test_wide_intervals_end_no_report() -> None:
    found = points(record(0.5, width=4.0, block="dw", channels=1), record(0.5, width=0.1, block="stm", channels=1))
    (table,) = tables([replace(SPEC, quantities=["latency"])], found, "block")
    assert table.rows[-1][2].text == "1.000"


def test_machines_stand_side_by_side() -> None:
    found = points(record(1.0, block="dw"), record(2.0, block="dw", host="there"))
    (table,) = tables([TableSpec("t", "T", ["block"], None, ["latency"])], found, None)
    assert table.header[:2] == ["machine", "block"] and len(table.rows) == 2


@given(st.text(alphabet="\\&%$#_{}~^<>|ab1", max_size=30))
def test_latex_is_escaped(text: str) -> None:
    bare = re.sub(
        r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}", "", escape(text)
    )
    assert not re.search(r"(?<!\\)[&%$#_{}~^<>|]", bare)


NASTY = '<script>alert("1")</script> & 100% of_it \\ ~'


def nasty_tables() -> Any:
    return tables([replace(SPEC, caption=NASTY)], table_points(), "block")


def test_markdown_tables_have_equal_rows() -> None:
    lines = markdown(nasty_tables()[0]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert "**10**" in lines[2]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed (texlive-latex-recommended)")
def test_latex_compiles_with_a_minimal_document(tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(latex(nasty_tables()[0], "A note, 5% & more."))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\\input{table}\\end{document}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=20), st.booleans(), st.booleans())
def test_the_pareto_front_is_what_nothing_beats(places: list[tuple[int, int]], lower_x: bool, lower_y: bool) -> None:
    x_sign, y_sign = (1 if lower_x else -1), (1 if lower_y else -1)

    def beaten(p: tuple[float, float]) -> bool:
        return any(x_sign * x <= x_sign * p[0] and y_sign * y <= y_sign * p[1] and (x, y) != p for x, y in places)

    expected = sorted({(float(x), float(y)) for x, y in places if not beaten((x, y))})
    assert pareto_front([(float(x), float(y)) for x, y in places], lower_x, lower_y) == expected


def test_series_look_alike_in_every_plot_and_different_in_one() -> None:
    both = looks(["dw", "stm", "something"])
    assert both["dw"] == looks(["dw"])["dw"]
    assert len({(look.colour, look.marker) for look in both.values()}) == 3
    variants = looks(["dw, form=train", "dw, form=deploy"])
    assert len({look.colour for look in variants.values()}) == 1
    assert len({(look.marker, look.line) for look in variants.values()}) == 2


@pytest.mark.parametrize("kind", ["line", "pareto", "bars", "heatmap"])
def test_plots_have_units_and_bands(kind: str, tmp_path: Path) -> None:
    x = "parameters" if kind == "pareto" else "channels"
    (plot,) = plots([PlotSpec("p", kind, "P", x, "latency", "block")], table_points())
    axes = plot.figure.axes[0]
    labels = {axes.get_ylabel(), *(other.get_ylabel() for other in plot.figure.axes)}
    assert "latency (ms)" in labels
    plot.save(tmp_path)
    assert (tmp_path / "p.png").stat().st_size > 5000 and (tmp_path / "p.pdf").read_bytes().startswith(b"%PDF")


TABLE = {"name": "t", "caption": "c", "rows": ["block"], "quantities": ["latency"]}
PLOT = {"name": "p", "kind": "line", "caption": "c", "x": "channels", "y": "latency"}
CLAIM = {"claim": "c", "source": "s", "quantity": "latency", "of": {}, "than": {}, "expect": "smaller"}
REPORTED = {"file": "volumes.csv", "quantity": "latency", "source": "s"}


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"title": "a"}, "report needs question"),
        ({"title": "a", "question": "b?", "colour": 1}, "report key=colour is not allowed"),
        ({"title": "a", "question": "b?", "plots": [{"kind": "pie"}]}, "report.plots needs name"),
        ({"title": "a", "question": "b?", "tables": [5]}, "report.tables=5 is not allowed: it must be a mapping"),
        ({"title": "a", "question": "b?", "tables": {"name": "t"}}, "report.tables must be a list"),
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


def test_reported_figures_stand_beside_their_own_setting_only() -> None:
    spec = ReportedSpec("se_expansion.csv", "latency", "a notebook")
    setting = {"prcm.expansion": 2, "channels": 64, "resolution": 64}
    same, other = record(1.0, batch_size=1, **setting), record(1.0, batch_size=16, **setting)
    (table,) = reported([spec], points(same, other))
    assert [row[:1] + row[4:6] for row in table.rows] == [["2", "0.7587", "0.0321"]]


def saved(folder: Path) -> Path:
    """A sweep of four records on disk."""
    for index, point in enumerate(table_points()):
        place = folder / str(index)
        place.mkdir(parents=True)
        save(point.record, place)
    return folder


def test_a_sweep_without_a_study_gets_a_report_too(tmp_path: Path) -> None:
    report, broken = build_report([saved(tmp_path / "sweep")])
    assert not broken and report.tables[0].header[:2] == ["block", "channels"]
    written = write_report(report, tmp_path / "report")
    text = written.read_text()
    assert "<script" not in text and "http" not in re.sub(r'src="data:[^"]*"', "", text), "one self-contained page"
    assert (tmp_path / "report/points.csv").is_file() and (tmp_path / "report/pareto.pdf").is_file()


def test_texts_of_records_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    report, _ = build_report([saved(tmp_path / "sweep")])
    text = page(replace(report, title=NASTY, not_measured=[(NASTY, "failed", NASTY)], config=NASTY))
    assert "<script" not in text and text.count("&lt;script&gt;") == 5


def test_a_folder_without_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no records below"):
        load_points([tmp_path])


def test_estimates_scale_with_their_interval() -> None:
    assert Estimate(2.0, 1.0, 4.0).scaled(0.5) == Estimate(1.0, 0.5, 2.0)
    assert Estimate(2.0).scaled(2).bounds == (4.0, 4.0)
