"""The bundle of a paper: write it from sweeps, or measure it again and compare.

    uv run scripts/paper.py write FOLDER [FOLDER ...] --output BUNDLE
    uv run scripts/paper.py replay BUNDLE [--output FOLDER] [--no-run]

A bundle holds the records, the report with its tables and plots, the paragraph on the measurement and the commands.
`replay` runs the commands, compares every figure with the bundle's, lists those that differ beyond their intervals
(exact ones: at all) and exits 1 where there are any. With --no-run it compares with what an earlier replay left there.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from segbench.report.bundle import Difference, compare, replay, replayed_overrides, write_bundle
from segbench.report.formats import rich_table
from segbench.report.report import build_report
from segbench.report.table import plain_table


def write(folders: list[Path], target: Path) -> None:
    """Write a bundle and say where."""
    report = build_report(folders)
    for reason in report.broken:
        print(f"segbench: warning: {reason}", file=sys.stderr)
    print(f"Bundle: {write_bundle(folders, report, target).parent}")
    try:
        replayed_overrides(target)
    except ValueError as error:
        print(f"segbench: warning: this bundle cannot be replayed by others: {error}", file=sys.stderr)


def check(bundle: Path, output: Path, run: bool) -> bool:
    """Replay and print what differs; whether nothing does."""
    folders = replay(bundle, output) if run else [output / str(n) for n in range(len(replayed_overrides(bundle)))]
    found = compare(bundle, folders)
    differing = [row for row in found if row.agrees is False]
    if differing:
        common = set.intersection(*(set(row.point.split()) for row in found))
        Console(width=100).print(rich_table(plain_table(_cells(row, common) for row in differing)))
    unsaid = sum(row.agrees is None for row in found)
    print(
        f"{len(found)} figures compared: {sum(row.agrees is True for row in found)} agree, {len(differing)} differ"
        + (f"; of {unsaid} it cannot be said: contended, unsteady, or another machine's" if unsaid else "")
    )
    return bool(found) and not differing


def _cells(row: Difference, common: set[str]) -> dict[str, str]:
    """A row; what all points have in common is left out of their names."""
    point = " ".join(part for part in row.point.split() if part not in common)
    return {"point": point or row.point, "figure": row.quantity, "bundle": row.old, "now": row.new}


def main() -> None:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write")
    writing.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    writing.add_argument("--output", type=Path, required=True)
    replaying = commands.add_parser("replay")
    replaying.add_argument("bundle", type=Path)
    replaying.add_argument("--output", type=Path, default=Path("outputs/replay"))
    replaying.add_argument("--no-run", action="store_true")
    arguments = parser.parse_args()
    try:
        if arguments.command == "write":
            write(arguments.folders, arguments.output)
        elif not check(arguments.bundle, arguments.output, not arguments.no_run):
            sys.exit(1)
    except (OSError, ValueError) as error:
        sys.exit(f"segbench: {error}")


if __name__ == "__main__":
    main()
