"""What a sweep varied, read from its file or its records; its table and its best figures."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from segbench.point.record import Record
from segbench.report.comparison import axes_of, command_of, comparison, headline, overrides_of, swept_keys


def record(*overrides: str, **parameters: object) -> Record:
    return Record("ok", None, list(overrides), parameters, {}, {}, {})


def test_a_key_typed_twice_counts_once() -> None:
    assert swept_keys([record("seed=1", "seed=2", seed=2)]) == []


def test_the_same_value_in_quotes_is_the_same() -> None:
    assert swept_keys([record("model.target='a.B'", block="dw"), record("model.target=a.B", block="dw")]) == []


def test_what_is_no_override_is_passed_over() -> None:
    found = [record("block=dw", "= (", block="dw"), record("block=stm", "]", block="stm")]
    found[0].overrides.append(5)  # type: ignore[arg-type]  # a foreign record may hold anything
    assert swept_keys(found) == ["block"]


def test_the_axes_of_the_sweep_go_before_what_differs() -> None:
    found = [record(f"seed={seed}", block=block, channels=8, seed=seed) for seed, block in enumerate(("dw", "stm"))]
    assert swept_keys(found) == ["seed"]
    assert swept_keys(found, ["channels", "block"]) == ["block"], "channels have one value"


def swept(folder: Path, *typed: str, **state: object) -> Path:
    folder.mkdir()
    text = yaml.safe_dump({"hydra": {"overrides": {"hydra": ["hydra.mode=MULTIRUN"], "task": list(typed)}}})
    (folder / "multirun.yaml").write_text(text)
    (folder / "sweep.json").write_text(json.dumps(state))
    return folder


def test_axes_are_those_of_a_single_sweep(tmp_path: Path) -> None:
    first, second = swept(tmp_path / "a", axes=["block"]), swept(tmp_path / "b", id="of an older version")
    assert axes_of([first]) == ["block"]
    assert axes_of([second]) is None and axes_of([first, second]) is None


@pytest.mark.parametrize("content", ["", "[]", '{"axes": "block"}', '{"axes": [1]}'])
def test_axes_that_are_none_are_passed_over(tmp_path: Path, content: str) -> None:
    folder = swept(tmp_path / "a")
    (folder / "sweep.json").write_text(content)
    assert axes_of([folder]) is None


def test_a_command_keeps_its_quotes_and_leaves_out_where_it_ran(tmp_path: Path) -> None:
    typed = ["block=dw,stm", "model.kwargs={a:'x\\\\y'}", "tracker.uri=http://here", "resume=true"]
    folder = swept(tmp_path / "a", *typed)
    assert overrides_of(folder) == typed[:2]
    assert command_of(folder) == """python run.py -m block=dw,stm 'model.kwargs={a:'"'"'x\\\\y'"'"'}'"""
    assert command_of(swept(tmp_path / "b", "study=a/b")) == "python run.py study=a/b"
    assert command_of(tmp_path) == ""


def ended(status: str = "ok", **changes: object) -> Record:
    reason = None if status == "ok" else "because"
    base = Record(status, reason, ["block=dw"], {"block": "dw"}, {}, {}, {"latency_ms/median": 2.0})
    return replace(base, **changes)  # type: ignore[arg-type]  # tests choose the fields


def test_comparison_has_every_parameter_and_metric_at_full_precision() -> None:
    records = [ended(metrics={"latency_ms/median": 1 / 3}), ended("failed", parameters={"block": "stm"})]
    table = comparison([("0", records[0]), ("1", records[1])])
    assert list(table["status"]) == ["ok", "failed"]
    assert list(table["block"]) == ["dw", "stm"]
    assert table["latency_ms/median"][0] == 1 / 3


def test_swept_keys_are_those_that_differ() -> None:
    typed = [["block=dw", "channels=24", "seed=1"], ["block=stm", "channels=24", "seed=1"]]
    assert swept_keys([ended(overrides=overrides) for overrides in typed]) == ["block"]


def test_headline_counts_and_takes_the_best_of_what_is_ok() -> None:
    records = [
        ended(),
        ended(metrics={"latency_ms/median": 1.0}),
        ended("failed", metrics={"latency_ms/median": 0.1}),
    ]
    found = headline(records)
    assert found["points/ok"] == 2 and found["points/failed"] == 1 and found["points/unsupported"] == 0
    assert found["best/latency_ms/median"] == 1.0
