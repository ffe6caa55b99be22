"""Reports from records on disk, and their pages."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from known_points import NASTY, table_points

from segbench.point.record import save
from segbench.report.points import load_points
from segbench.report.report import build_report, page, write_report


def saved(folder: Path) -> Path:
    """A sweep of four records on disk."""
    for index, point in enumerate(table_points()):
        place = folder / str(index)
        place.mkdir(parents=True)
        save(point.record, place)
    return folder


def test_a_sweep_without_a_study_gets_a_report_too(tmp_path: Path) -> None:
    report = build_report([saved(tmp_path / "sweep")])
    assert not report.broken and [column.header for column in report.tables[0].columns[:2]] == ["block", "channels"]
    written = write_report(report, tmp_path / "report")
    text = written.read_text()
    assert "<script" not in text and "http" not in re.sub(r'src="data:[^"]*"', "", text), "one self-contained page"
    assert (tmp_path / "report/points.csv").is_file() and (tmp_path / "report/pareto.pdf").is_file()


def test_texts_of_records_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    report = build_report([saved(tmp_path / "sweep")])
    lost = replace(report.points[0].record, status="failed", reason=NASTY, config={"name": NASTY})
    nasty = replace(report.points[0], record=lost, axes={"block": NASTY})
    text = page(replace(report, spec=replace(report.spec, title=NASTY), points=[nasty, *report.points[1:]]))
    assert "<script" not in text and text.count("&lt;script&gt;") == 9


def test_a_folder_without_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no records below"):
        load_points([tmp_path])


def test_the_axes_of_the_report_are_those_that_the_sweep_wrote_down(tmp_path: Path) -> None:
    sweep = saved(tmp_path / "sweep")
    (sweep / "sweep.json").write_text(json.dumps({"axes": ["channels", "block"]}))
    report = build_report([sweep])
    assert [column.header for column in report.tables[0].columns[:2]] == ["channels", "block"]


def test_a_point_without_a_measurement_is_listed_with_its_reason(tmp_path: Path) -> None:
    sweep = saved(tmp_path / "sweep")
    save(replace(table_points()[0].record, status="failed", reason="a reason"), sweep / "0")
    report = build_report([sweep])
    text = page(report)
    cells = [f'<td class="lead">{said}</td>' for said in ("block=dw channels=24", "failed", "a reason")]
    assert "".join(cells) in text and 'title="a reason">failed</td>' in text
