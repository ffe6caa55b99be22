"""Write the exact versions of every dependency into uv.toml, without naming any registry.

    uv run scripts/pin.py

Resolves the newest versions that pyproject.toml admits, on all platforms. Review and commit the result.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Exact versions for `uv run` and `uv sync`, written by scripts/pin.py. They name no registry.
# uv reads this file instead of [tool.uv] in pyproject.toml.
constraint-dependencies = [
"""


def main() -> None:
    """Resolve, export and write."""
    pins = ROOT / "uv.toml"
    pins.unlink(missing_ok=True)
    export = ["uv", "export", "--upgrade", "--all-groups", "--no-emit-project", "--no-hashes", "--no-header"]
    done = subprocess.run([*export, "--no-annotate"], cwd=ROOT, check=True, capture_output=True, text=True)
    lines = [f'    "{line}",\n' for line in done.stdout.splitlines() if line.strip()]
    pins.write_text(HEADER + "".join(lines) + "]\n", encoding="utf-8")
    print(f"{len(lines)} pins in {pins.name}")


if __name__ == "__main__":
    main()
