"""Send the records of sweeps that a tracker lacks, once each, whatever is repeated or interrupted.

    uv run scripts/sync.py FOLDER...                                             # into mlflow.db of this folder
    uv run scripts/sync.py outputs tracker=mlflow_server tracker.uri=http://127.0.0.1:5000

A FOLDER is a sweep's, a single point's, or one with such folders below; anything else is an override of the tracker.
Exits with 1 where something could not be sent.
"""

import argparse
import sys
from pathlib import Path

from hydra.errors import HydraException
from rich.console import Console
from rich.progress import Progress

from segbench.base.interrupts import EXIT_INTERRUPTED, EXIT_TERMINATED, Terminated, stop_in_order
from segbench.config.compose import composed, instantiated
from segbench.config.explain import explain
from segbench.sweep.folder import BusyError
from segbench.sweep.sync import send_folder, sweeps_in
from segbench.tracking.address import refuse_secrets
from segbench.tracking.none import NoTracker
from segbench.tracking.tracker import MlflowTracker, TrackerError


def main() -> int:
    """Send what is missing from every sweep in the folders; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="folders, and overrides of the tracker")
    arguments = parser.parse_args().folders
    overrides = [argument for argument in arguments if argument.startswith(("tracker=", "tracker."))]
    folders = [Path(argument) for argument in arguments if argument not in overrides]
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    if missing or not folders:
        parser.error(f"{' '.join(missing) or 'FOLDER'}: not a folder")
    stop_in_order()
    try:
        refuse_secrets(overrides)
        tracker = instantiated(composed(overrides).tracker)
        if isinstance(tracker, NoTracker):
            return _complain("tracker=none keeps nothing: name a tracker to send to")
        tracker.prepare()
        found = [sweep for folder in folders for sweep in sweeps_in(folder)]
        results = [_send(tracker, sweep) for sweep in found]
    except (HydraException, TrackerError, ValueError, OSError) as error:
        return _complain(explain(error))
    except KeyboardInterrupt as stop:
        _complain("interrupted: repeat the command to send the rest")
        return EXIT_TERMINATED if isinstance(stop, Terminated) else EXIT_INTERRUPTED
    if not results:
        return _complain(f"no records below {' '.join(map(str, folders))}")
    return 0 if all(results) else 1


def _send(tracker: MlflowTracker, folder: Path) -> bool:
    """Send what is missing of one sweep; returns whether all of it could be sent."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(str(folder), total=None)
        try:
            sent = send_folder(tracker, folder, lambda: progress.advance(task))
        except (BusyError, ValueError) as error:
            _complain(str(error))
            return False
    for reason in sent.broken:
        _complain(reason)
    print(f"{folder}: {sent.now} of {sent.records} records sent, {sent.records - sent.now} were there")
    return not sent.broken


def _complain(message: str) -> int:
    print(f"sync: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
