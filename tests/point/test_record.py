"""Records are whole or not there."""

import json
from dataclasses import FrozenInstanceError, asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbench.base.files import write_json
from segbench.point.record import Record, load, load_sweep, save

finite = st.floats(allow_nan=False, allow_infinity=False)


def record(status: str = "ok", **changes: object) -> Record:
    reason = None if status == "ok" else "because"
    base = Record(status, reason, ["block=dw"], {"block": "dw"}, {}, {}, {"latency_ms/median": 2.0})
    return replace(base, **changes)  # type: ignore[arg-type]  # tests choose the fields


@given(st.dictionaries(st.text(), finite), st.lists(finite), st.text())
def test_a_record_comes_back_as_it_was_written(metrics: dict, samples: list, text: str) -> None:
    original = record(metrics=metrics, samples={"latency_ms": samples}, parameters={"block": text})
    assert Record(**json.loads(json.dumps(asdict(original), allow_nan=False))) == original


def test_save_and_load(tmp_path: Path) -> None:
    path = save(record(), tmp_path)
    assert path == tmp_path / "record.json"
    assert load(path) == record()
    assert json.loads(path.read_text())["schema_version"] == 1


def test_a_record_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        record().status = "failed"  # type: ignore[misc]  # that it cannot be set is the point


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"status": "fine"}, "status=fine"),
        ({"reason": "but why"}, "reason=but why"),
        ({"metrics": {"latency_ms/median": float("nan")}}, "latency_ms/median"),
        ({"schema_version": 99}, "schema_version=99"),
    ],
    ids=str,
)
def test_bad_records_are_refused(changes: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        record(**changes)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json({"a": 1}, path)
    with pytest.raises(ValueError):
        write_json({"a": float("nan")}, path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("cut", [0, 10, -3])
def test_a_record_cut_short_is_named_and_skipped(tmp_path: Path, cut: int) -> None:
    for point in (2, 10, 1):
        (tmp_path / str(point)).mkdir()
        save(record(parameters={"point": point}), tmp_path / str(point))
    broken = tmp_path / "2" / "record.json"
    broken.write_text(broken.read_text()[:cut])
    with pytest.raises(ValueError, match=r"2/record\.json is not a whole record"):
        load(broken)
    found, reasons = load_sweep(tmp_path)
    assert [name for name, _ in found] == ["1", "10"]
    assert len(reasons) == 1 and "2/record.json" in reasons[0]
