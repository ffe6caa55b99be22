"""Write the exact versions of every dependency into pyproject.toml, without naming any registry.

    uv run scripts/pin.py

Resolves the newest versions that pyproject.toml admits, on all platforms. Review and commit the result.
uv obeys these pins only in `[tool.uv]` of pyproject.toml: `uv run` and `uv sync` ignore the same list in uv.toml.
"""

import re
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
PINS = re.compile(r"(?<=^constraint-dependencies = \[\n).*?(?=^\]$)", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Take the old pins out, resolve, and write the new ones; what was there comes back where that fails."""
    before = PROJECT.read_text(encoding="utf-8")
    try:
        PROJECT.write_text(PINS.sub("", before), encoding="utf-8")
        pins = resolved()
    except BaseException:
        PROJECT.write_text(before, encoding="utf-8")
        raise
    PROJECT.write_text(PINS.sub(lambda _: "".join(pins), before), encoding="utf-8")
    print(f"{len(pins)} pins in {PROJECT.name}")


def resolved() -> list[str]:
    """The newest versions, a line of TOML each."""
    export = ["uv", "export", "--upgrade", "--all-groups", "--all-extras", "--no-emit-project", "--no-hashes"]
    plain = ["--no-header", "--no-annotate"]
    done = subprocess.run([*export, *plain], cwd=PROJECT.parent, check=True, capture_output=True, text=True)
    return [f'    "{line}",\n' for line in done.stdout.splitlines() if line.strip()]


if __name__ == "__main__":
    main()
