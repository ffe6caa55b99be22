"""Files that are whole or not there, whatever happens while they are written."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_json(value: Mapping[str, Any], path: Path) -> None:
    """Write `value` as JSON at `path`, whole or not at all."""
    write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False), path)


def write_text(text: str, path: Path) -> None:
    """Write `text` at `path`, whole or not at all. `OSError` names `path` where that is not possible."""
    try:
        _replace(text, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace(text: str, path: Path) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
