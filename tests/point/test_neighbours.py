"""Processes that measure on one machine: where they find out about each other."""

import tempfile
from pathlib import Path

import pytest

from segbench.point.neighbours import Neighbours


def test_processes_meet_in_the_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So tests, with a folder of their own, wait for nobody else's measurements."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Neighbours("wait", ["cpu0"]):
        assert [path.suffix for path in (tmp_path / "segbench").glob("*.json")] == [".json"]
    assert not list((tmp_path / "segbench").glob("*.json"))
