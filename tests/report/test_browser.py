"""Reports and MLflow's pages in a real browser: Debian's Chromium, headless."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.image import imread

from segbench.point.record import load_sweep

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)"),
]
ROOT = Path(__file__).resolve().parents[2]
STUDY = "prcm_expansion/pool_size"


def browser(address: str, *flags: str) -> str:
    """What Chromium prints when it opens an address and the page's requests have come to rest."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", *flags]
    done = subprocess.run([*command, address], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def text_of(address: str) -> str:
    """The page's text as its scripts have left it."""
    page = re.sub(r"<(style|script)[^>]*>.*?</\1>", "", browser(address, "--dump-dom"), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a study was run, with its MLflow store."""
    folder = tmp_path_factory.mktemp("study")
    subprocess.run(
        [sys.executable, str(ROOT / "run.py"), f"study={STUDY}", "quick", "device.threads=1"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder


def sweep_of(study: Path) -> Path:
    (folder,) = (study / "outputs" / STUDY).iterdir()
    return folder


def test_a_report_opens_with_its_tables_and_plots(study: Path, tmp_path: Path) -> None:
    address = (sweep_of(study) / "report/report.html").as_uri()
    text = text_of(address)
    for expected in (
        "PRCM_AdaptivePool over its pool size",
        "parameters",
        "latency (ms)",
        "Measured on",
        "As reported by",
    ):
        assert expected in text
    picture = tmp_path / "report.png"
    browser(address, f"--screenshot={picture}", "--window-size=1400,3000")
    pixels = imread(picture)[:, :, :3]
    coloured = (abs(pixels - pixels.mean(axis=2, keepdims=True)) > 0.2).any(axis=2)
    assert coloured.sum() > 500, "the plot's blue line and band"
    assert (pixels[:, :20] == 1).all() and (pixels[:, -20:] >= 0.75).all(), "nothing runs over the margins"


@pytest.fixture(scope="module")
def mlflow_server(study: Path) -> Iterator[str]:
    """MLflow's own server on the study's store, on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(command, cwd=study, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/health")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(address: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise TimeoutError(address)


def api(server: str, method: str, **body: object) -> dict:
    """MLflow's REST interface."""
    request = urllib.request.Request(
        f"{server}/api/2.0/mlflow/{method}",
        data=json.dumps(body).encode() if body else None,
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict = json.loads(answer.read())
    return found


def runs_of(server: str) -> tuple[dict, list[dict]]:
    """The study's run and its children."""
    found = api(server, "runs/search", experiment_ids=["1"], max_results=100)["runs"]
    tags = [{tag["key"]: tag["value"] for tag in run["data"]["tags"]} for run in found]
    (parent,) = (run for run, tag in zip(found, tags, strict=True) if tag["segbench.kind"] == "sweep")
    children = [run for run, tag in zip(found, tags, strict=True) if tag["segbench.kind"] == "point"]
    return parent, children


def test_the_run_list_shows_the_study_by_its_name(mlflow_server: str) -> None:
    text = text_of(f"{mlflow_server}/#/experiments/1/runs")
    assert STUDY in text and "Training runs" in text


def test_the_study_holds_its_report_and_its_headline_figures(mlflow_server: str, study: Path) -> None:
    parent, children = runs_of(mlflow_server)
    metrics = {metric["key"]: metric["value"] for metric in parent["data"]["metrics"]}
    assert metrics["points/ok"] == len(children) == 3
    assert {"geometric_mean_ratio_to_baseline/1", "best/latency_ms/median"} <= metrics.keys()
    assert any(name.startswith("findings/") for name in metrics)
    run_id = parent["info"]["run_id"]
    listed = api(mlflow_server, f"artifacts/list?run_id={run_id}&path=report")["files"]
    names = {Path(file["path"]).name for file in listed}
    assert {"report.html", "latency.png", "latency.pdf", "pool_size.csv", "pool_size.tex"} <= names
    text = text_of(f"{mlflow_server}/#/experiments/1/runs/{run_id}")
    assert "geometric_mean_ratio_to_baseline" in text and "pool_size" in text


def test_the_children_compare_on_the_compare_page(mlflow_server: str) -> None:
    _, children = runs_of(mlflow_server)
    ids = urllib.parse.quote(json.dumps([run["info"]["run_id"] for run in children]))
    text = text_of(f"{mlflow_server}/#/compare-runs?runs={ids}&experiments=%5B%221%22%5D")
    assert "prcm.pool_size" in text and "latency_ms/median" in text
    for size in ("1", "2", "32"):
        assert f"prcm.pool_size={size}" in text


def test_every_point_of_the_study_is_in_the_store(mlflow_server: str, study: Path) -> None:
    _, children = runs_of(mlflow_server)
    records, broken = load_sweep(sweep_of(study))
    assert not broken
    found = {metric["value"] for run in children for metric in run["data"]["metrics"] if metric["key"] == "macs/thop"}
    assert found == {record.metrics["macs/thop"] for _, record in records}
