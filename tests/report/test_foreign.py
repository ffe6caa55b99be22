"""Folders of others: records are data, whatever is in them."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, CommandLine
from survive import QUICK

OWN_BYTES = {"segbench/config/loader.py"}
"""May unpickle what the same process has pickled: composed configurations, which are copied ten times as fast so."""
FORBIDDEN = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
UNSAFE = {("yaml", "load"), ("yaml", "unsafe_load"), ("yaml", "full_load"), ("torch", "load"), ("np", "load")}
SOURCES = sorted(path for folder in ("segbench", "hydra_plugins", "scripts") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_of_ours_unpickles_or_evaluates(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            allowed = {"pickle"} if str(path.relative_to(ROOT)) in OWN_BYTES else set()
            assert not FORBIDDEN - allowed & {name.partition(".")[0] for name in names}, f"{path}:{node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "compile", "__import__"), f"{path}:{node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            assert (owner, node.func.attr) not in UNSAFE, f"{path}:{node.lineno}"


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_foreign_sweep_runs_nothing_and_stays_in_its_folder(segbench_in: CommandLine, tmp_path: Path) -> None:
    assert segbench_in("-m", "channels=8,10", "tracker=none", *QUICK).returncode == 0
    (foreign,) = tmp_path.glob("outputs/*/*")
    evil = f"import pathlib; pathlib.Path({str(tmp_path / 'canary')!r}).touch()\nclass Net: ...\n"
    (tmp_path / "evil.py").write_text(evil)
    (foreign / "evil.py").write_text(evil)
    for number, name in ((0, "../../../escaped"), (1, "/tmp/escaped")):
        path = foreign / str(number) / "record.json"
        record = json.loads(path.read_text())
        record["config"]["model"] = {"_target_": "evil.Net", "target": "evil.Net", "block": {"_target_": "os.system"}}
        record["config"]["report"] = {"title": name, "tables": {name: {"rows": ["channels"], "columns": ["latency"]}}}
        record["config"]["name"] = record["parameters"]["block"] = name
        record["environment"]["host"] = f"<script>{name}</script>"
        path.write_text(json.dumps(record))
    (foreign / "sweep.json").write_text(json.dumps({"id": "x' OR '1'='1", "command": ["$(touch canary)"]}))
    before = files_in(tmp_path)

    def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "scripts" / name), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    script("report.py", str(foreign))
    script("sync.py", str(foreign))
    script("paper.py", "write", str(foreign), "--output", "bundle")
    segbench_in("-m", "channels=8,10", f"resume={foreign}", *QUICK)
    assert not (tmp_path / "canary").exists()
    written = files_in(tmp_path) - before
    inside = (
        str(foreign.relative_to(tmp_path)),
        "mlflow.db",
        "mlruns/",
        ".mlflow.db.lock",
        "bundle/",
        "report",
        "evil",
    )
    assert not [name for name in written if not name.startswith(inside) and "__pycache__" not in name], written
    assert not list(Path("/tmp").glob("escaped*")) and not list(tmp_path.parent.glob("escaped*"))
    for page in tmp_path.rglob("report.html"):
        assert "<script>" not in page.read_text()
