"""Reports from records: of a sweep again, or of several sweeps and machines side by side.

    uv run scripts/report.py FOLDER [FOLDER ...] [--output report]

A FOLDER is that of a sweep (`outputs/<name>/<time>`). The report is the study's own where the records carry one, else a
table of all points and plots over what was swept. Without --output, one folder's report goes into its `report/`.
"""

import argparse
import sys
from pathlib import Path

from segbench.point.record import REPORT_FOLDER
from segbench.report.report import build_report, write_report


def main() -> None:
    """Read, build and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    several = len(arguments.folders) > 1
    output = arguments.output or (Path(REPORT_FOLDER) if several else arguments.folders[0] / REPORT_FOLDER)
    try:
        report = build_report(arguments.folders)
        page = write_report(report, output)
    except (OSError, ValueError) as error:
        sys.exit(f"segbench: {error}")
    for reason in report.broken:
        print(f"segbench: warning: {reason}", file=sys.stderr)
    print(f"Report: {page}")


if __name__ == "__main__":
    main()
