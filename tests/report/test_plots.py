"""A study's plots: fronts, looks, units."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_points import points, record, table_points

from segbench.report.plots import pareto_front, plots
from segbench.report.study import PlotSpec
from segbench.report.style import looks


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


@pytest.mark.parametrize("smallest", [0, -1, 5])
def test_a_heatmap_may_hold_what_has_no_logarithm(smallest: int, tmp_path: Path) -> None:
    found = points(
        *(
            record(1.0, block=block, channels=channels, parameters=n)
            for block, channels, n in (("a", 8, smallest), ("a", 16, 10), ("b", 8, 20))
        )
    )
    (plot,) = plots([PlotSpec("p", "heatmap", "P", "channels", "parameters", "block")], found)
    plot.save(tmp_path)
    written = [text.get_text() for text in plot.figure.axes[0].texts]
    assert written == [f"{smallest:.2f}" if smallest else "0", "10.0", "20.0", ""]


@pytest.mark.parametrize("kind", ["line", "pareto", "bars", "heatmap"])
def test_equal_figures_and_points_without_one_end_no_plot(kind: str) -> None:
    found = points(*(record(1.0, block=block, channels=8) for block in "ab"))
    spec = PlotSpec("p", kind, "P", "macs" if kind == "pareto" else "channels", "latency", "block")
    assert len(plots([spec], found)) == (kind != "pareto"), "no point has MACs"
