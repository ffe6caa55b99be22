"""Bundles of papers: whole, without secrets, replayed and compared, and harmless."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from segbench.point.record import FILE_NAME, load_sweep
from segbench.report.bundle import write_bundle
from segbench.report.replay import compare, replayed_overrides
from segbench.report.report import build_report

FAST = ["timing=fixed_20_100", "timing.warmup_calls=2", "timing.timed_calls=30", "device.threads=1", "channels=8"]


def paper(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/paper.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a small sweep that was sent to a tracker."""
    folder = tmp_path_factory.mktemp("paper")
    store = f"tracker.uri=sqlite:///{folder}/store.db"
    command = [sys.executable, str(ROOT / "run.py"), "-m", "block=dw,stm", "resolution=16", *FAST, store]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=True)
    (sweep,) = folder.glob("outputs/adhoc/*")
    done = paper("write", str(sweep), "--output", "bundle", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "bundle"


@pytest.fixture
def bundle(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil, of points that nothing disturbed: what was disturbed is not judged."""
    copy = Path(shutil.copytree(written, tmp_path / "bundle"))
    for path in copy.glob(f"sweeps/*/*/{FILE_NAME}"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"verdicts": {"steady": True, "contended": False}}))
    return copy


def test_a_bundle_is_whole_and_holds_no_secret(bundle: Path) -> None:
    names = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    wanted = {"README.md", "bundle.json", "measurement.txt", "report/report.html", "report/points.tex"}
    assert wanted | {"sweeps/0/0/record.json", "sweeps/0/1/record.json"} <= names
    records, broken = load_sweep(bundle / "sweeps/0")
    assert len(records) == 2 and not broken and records[0][1].samples["latency_ms"]
    for path in bundle.rglob("*"):
        assert not path.is_file() or b"secret" not in path.read_bytes(), path
    readme = (bundle / "README.md").read_text()
    assert "python run.py -m block=dw,stm resolution=16" in readme and "replay bundle" in readme
    assert "Measured on" in (bundle / "measurement.txt").read_text()


def test_a_replay_measures_again_and_finds_the_exact_figures_equal(bundle: Path) -> None:
    done = paper("replay", bundle.name, folder=bundle.parent)
    assert (bundle.parent / "outputs/replay/0/1" / FILE_NAME).is_file(), done.stderr
    found = compare(bundle, [bundle.parent / "outputs/replay/0"])
    exact = [row for row in found if not row.quantity.startswith("latency")]
    assert "missing" not in {row.new for row in found}
    assert len(exact) == 14 and all(row.agrees for row in exact)
    assert "figures compared" in done.stdout


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
    bundle: Path, tmp_path: Path, metric: str, factor: float, code: int, said: str
) -> None:
    earlier = changed(bundle, tmp_path / "earlier", metric, factor)
    done = paper("replay", bundle.name, "--no-run", "--output", str(earlier), folder=bundle.parent)
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr
    assert ("block=dw" in done.stdout) == bool(code)


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
    ],
)
def test_what_could_run_code_or_write_elsewhere_is_not_replayed(bundle: Path, override: str) -> None:
    path = bundle / "bundle.json"
    found = json.loads(path.read_text())
    found["sweeps"][0]["overrides"].append(override)
    path.write_text(json.dumps(found))
    with pytest.raises(ValueError, match="is not replayed"):
        replayed_overrides(bundle)
    done = paper("replay", bundle.name, folder=bundle.parent)
    assert done.returncode == 1 and "is not replayed" in done.stderr
    assert not (bundle.parent / "outputs/replay").exists()


def test_names_in_a_record_do_not_lead_out_of_the_folder(bundle: Path, tmp_path: Path) -> None:
    """Folders are named by what was found on disk, never by what a record says."""
    report, _ = build_report([bundle / "sweeps/0"])
    with pytest.raises(ValueError, match="is not empty"):
        write_bundle([bundle / "sweeps/0"], report, bundle)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2, "sweeps": []}', '{"version": 1, "sweeps": [1]}'])
def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "bundle.json").write_text(content)
    with pytest.raises(ValueError, match=r"is no bundle|is of version"):
        replayed_overrides(tmp_path)
