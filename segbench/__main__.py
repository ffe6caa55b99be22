"""The command line: `segbench`, `python -m segbench` and `python run.py`."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

from segbench.base.interrupts import EXIT_INTERRUPTED, EXIT_TERMINATED, Terminated, stop_in_order
from segbench.sweep.studies import expand, run_all, with_quick
from segbench.tracking.address import AddressError, refuse_secrets


def main() -> None:
    """Run the command line; errors become one sentence, unless HYDRA_FULL_ERROR=1 asks for the traceback."""
    stop_in_order()
    show_tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, and the sentence is made here
    try:
        refuse_secrets(sys.argv[1:])
        sys.argv = [sys.argv[0], *with_quick(sys.argv[1:])]
        if asked := expand(sys.argv[1:]):
            sys.exit(run_all(*asked))
        _compose_and_run(show_tracebacks)
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        _stopped("terminated" if terminated else "interrupted")
        sys.exit(EXIT_TERMINATED if terminated else EXIT_INTERRUPTED)
    except Exception as error:
        _stopped("stopped")
        if show_tracebacks:
            raise
        sys.exit(_refuse(error))


def _compose_and_run(show_tracebacks: bool) -> None:
    import hydra
    from omegaconf import DictConfig

    from segbench.config.compose import CONF_DIR
    from segbench.sweep.callback import SweepCallback

    def point(config: DictConfig) -> Any:
        from segbench.sweep.job import run

        return run(config)

    SweepCallback.show_tracebacks = show_tracebacks
    warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")
    hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(point)()


def _stopped(why: str) -> None:
    """Show what a sweep had measured when it was stopped; a second interruption ends that too."""
    sweep = sys.modules.get("segbench.sweep.callback")
    running = sweep.SweepCallback.running if sweep else None
    try:
        if running:
            running.stopped(why)
    except KeyboardInterrupt:
        print("segbench: interrupted again", file=sys.stderr)


def _refuse(error: Exception) -> int:
    """Print the error as one sentence; returns the exit code."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from segbench.config.explain import explain
    from segbench.sweep.callback import EXIT_FAILED, EXIT_REFUSED
    from segbench.sweep.studies import UnknownStudyError

    print(f"segbench: {explain(error)}", file=sys.stderr)
    if isinstance(error, HydraException | OmegaConfBaseException | OSError | UnknownStudyError | AddressError):
        return EXIT_REFUSED
    print("segbench: this is unexpected; HYDRA_FULL_ERROR=1 shows where it happened", file=sys.stderr)
    return EXIT_FAILED


if __name__ == "__main__":
    main()
