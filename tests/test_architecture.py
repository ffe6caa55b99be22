"""The rooms of the house: who imports whom is written down in pyproject.toml, and nothing lies beside them."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "segbench"
ROOMS = sorted(path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")])
LONGEST_FILE, LONGEST_DOCSTRING = 250, 3


def test_imports_go_one_way() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_nothing_lies_beside_the_rooms() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_every_room_says_what_lives_there_and_whom_it_knows(room: Path) -> None:
    text = (room / "__init__.py").read_text(encoding="utf-8")
    docstring = text.split('"""')[1]
    assert len(docstring.strip().splitlines()) >= LONGEST_DOCSTRING
    assert "know" in docstring


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_can_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
