"""Bundles of papers: whole, without addresses, replayed and compared, and harmless."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import paper
import pytest
import yaml
from conftest import ROOT
from known_points import record

from segbench.point.record import FILE_NAME, load_sweep, save
from segbench.report.bundle import compare, replayed_overrides, write_bundle
from segbench.report.report import build_report

EXACT = {
    "parameters/train": 120.0,
    "macs/thop": 5e6,
    "flops/torch": 1e7,
    "flops/audited": 1.1e7,
    "memory_bytes/peak_activation": 4096.0,
    "memory_bytes/moved": 9000.0,
}
ADDRESS = "sqlite:////somewhere/store.db"


def run_paper(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    """The exit code of scripts/paper.py in a folder; it prints to this process."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["paper.py", *arguments])
    try:
        paper.main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code)
        return 0 if end.code is None else 1
    return 0


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle of a sweep of two points that was sent to a tracker."""
    sweep = tmp_path / "sweep"
    typed = ["block=dw,stm", "resolution=16", f"tracker.uri='{ADDRESS}'"]
    for number, (block, latency) in enumerate({"dw": 1.0, "stm": 2.0}.items()):
        found = record(latency, block=block, resolution=16)
        (sweep / str(number)).mkdir(parents=True)
        sent = {"metrics": found.metrics | EXACT, "config": found.config | {"tracker": {"uri": ADDRESS}}}
        asked = [*found.overrides, f"tracker.uri='{ADDRESS}'"]
        save(replace(found, **sent, overrides=asked, samples={"latency_ms": [latency]}), sweep / str(number))
    overrides = {"hydra": ["hydra.mode=MULTIRUN"], "task": typed}
    (sweep / "multirun.yaml").write_text(yaml.safe_dump({"hydra": {"overrides": overrides}}))
    assert run_paper(monkeypatch, tmp_path, "write", str(sweep), "--output", "bundle") == 0
    return tmp_path / "bundle"


def test_a_bundle_is_whole_and_holds_no_address(bundle: Path) -> None:
    names = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    wanted = {"README.md", "bundle.json", "measurement.txt", "report/report.html", "report/points.tex"}
    assert wanted | {"sweeps/0/0/record.json", "sweeps/0/1/record.json"} <= names
    records, broken = load_sweep(bundle / "sweeps/0")
    assert len(records) == 2 and not broken and records[0][1].samples["latency_ms"]
    for path in bundle.rglob("*"):
        assert not path.is_file() or b"store.db" not in path.read_bytes(), path
    readme = (bundle / "README.md").read_text()
    assert "python run.py -m block=dw,stm resolution=16" in readme and "replay bundle" in readme
    assert "Measured on" in (bundle / "measurement.txt").read_text()


@pytest.mark.slow
def test_a_replay_measures_again_and_finds_the_exact_figures_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fast = ["timing=fixed_20_100", "timing.warmup_calls=2", "timing.timed_calls=30", "device.threads=1", "channels=8"]
    command = [sys.executable, str(ROOT / "run.py"), "-m", "block=dw,stm", "resolution=16", *fast, "tracker=none"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=300, check=True)
    (sweep,) = tmp_path.glob("outputs/adhoc/*")
    assert run_paper(monkeypatch, tmp_path, "write", str(sweep), "--output", "bundle") == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    run_paper(monkeypatch, tmp_path, "replay", "bundle")
    assert (tmp_path / "outputs/replay/0/1" / FILE_NAME).is_file()
    found = compare(tmp_path / "bundle", [tmp_path / "outputs/replay/0"])
    exact = [row for row in found if not row.quantity.startswith("latency")]
    assert "missing" not in {row.new for row in found}
    assert len(exact) == 14 and all(row.agrees for row in exact)
    assert "figures compared" in capsys.readouterr().out


def changed(bundle: Path, target: Path, metric: str, factor: float) -> Path:
    """The bundle's own records as a replay, one figure of the first changed."""
    shutil.copytree(bundle / "sweeps/0", target / "0")
    path = target / "0/0" / FILE_NAME
    record = json.loads(path.read_text())
    for name in record["metrics"]:
        if name.startswith(metric):
            record["metrics"][name] *= factor
    path.write_text(json.dumps(record))
    return target


@pytest.mark.parametrize(
    ("metric", "factor", "code", "said"),
    [
        ("parameters/deploy", 1, 0, "0 differ"),
        ("parameters/deploy", 2, 1, "1 differ"),
        ("latency_ms", 3, 1, "1 differ"),
        ("memory_bytes/moved", 1.001, 1, "1 differ"),
    ],
)
def test_what_differs_beyond_its_interval_is_named(
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    metric: str,
    factor: float,
    code: int,
    said: str,
) -> None:
    earlier = changed(bundle, bundle.parent / "earlier", metric, factor)
    assert run_paper(monkeypatch, bundle.parent, "replay", "bundle", "--no-run", "--output", str(earlier)) == code
    printed = capsys.readouterr().out
    assert said in printed and ("block=dw" in printed) == bool(code)


def test_latencies_of_another_machine_may_differ(bundle: Path, tmp_path: Path) -> None:
    earlier = changed(bundle, tmp_path / "earlier", "latency_ms", 3)
    path = earlier / "0/0" / FILE_NAME
    record = json.loads(path.read_text())
    record["environment"]["host"] = "elsewhere"
    path.write_text(json.dumps(record))
    rows = compare(bundle, [earlier / "0"])
    assert [row.agrees for row in rows if row.quantity == "latency_ms/median"] == [None, True]


def test_a_point_that_is_missing_differs(bundle: Path, tmp_path: Path) -> None:
    earlier = changed(bundle, tmp_path / "earlier", "parameters", 1)
    shutil.rmtree(earlier / "0/1")
    rows = compare(bundle, [earlier / "0"])
    assert [row.new for row in rows if row.agrees is False] == ["not measured"]


@pytest.mark.parametrize(
    "override",
    [
        "hydra.sweep.dir=/etc/x",
        "hydra/launcher=evil",
        "+hydra.callbacks.x._target_=os.system",
        "++block._target_=os.system",
        "block={_target_:os.system}",
        "model.target=os.system",
        "model.kwargs={a:1}",
        "tracker.uri=http://elsewhere",
        "name=${oc.env:HOME}",
        "~model",
        "--experimental-rerun=evil.pickle",
        "-cd=evil",
        "baseline={model:custom,model.target:evil.Net}",
        "short={model:custom}",
        "model=custom",
        "block@x=dw",
        "report.tables=[]",
        "block=d\\w",
        "channels",
        "model.encoder=${oc.env:HOME}",
        "baseline={tracker.uri:elsewhere}",
        "baseline={name:elsewhere}",
        "block=[",
    ],
)
def test_what_could_run_code_or_write_elsewhere_is_not_replayed(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    path = bundle / "bundle.json"
    found = json.loads(path.read_text())
    found["sweeps"][0]["overrides"].append(override)
    path.write_text(json.dumps(found))
    with pytest.raises(ValueError, match="is not replayed"):
        replayed_overrides(bundle)
    assert run_paper(monkeypatch, bundle.parent, "replay", "bundle") == 1
    assert "is not replayed" in capsys.readouterr().out
    assert not (bundle.parent / "outputs/replay").exists()


@pytest.mark.parametrize(
    "override",
    [
        "block=dw,stm",
        "channels=range(8,64,8)",
        "baseline={block:dw,block.kernel_size:3}",
        "model.encoder=mobilenetv4_conv_small.e2400_r224_in1k",
        "variant='prcm_se_e2'",
        "input.shape=[1,64,64,64]",
        "study=block_ablation/channels",
        "quick=true",
    ],
)
def test_choices_and_numbers_are_replayed_as_they_were_typed(bundle: Path, override: str) -> None:
    path = bundle / "bundle.json"
    found = json.loads(path.read_text())
    found["sweeps"][0]["overrides"] = [override]
    path.write_text(json.dumps(found))
    assert replayed_overrides(bundle) == [[override]]


def test_names_in_a_record_do_not_lead_out_of_the_folder(bundle: Path, tmp_path: Path) -> None:
    """Folders are named by what was found on disk, never by what a record says."""
    report = build_report([bundle / "sweeps/0"])
    with pytest.raises(ValueError, match="is not empty"):
        write_bundle([bundle / "sweeps/0"], report, bundle)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2, "sweeps": []}', '{"version": 1, "sweeps": [1]}'])
def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "bundle.json").write_text(content)
    with pytest.raises(ValueError, match=r"is no bundle|is of version"):
        replayed_overrides(tmp_path)
