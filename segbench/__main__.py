"""The command line: `segbench`, `python -m segbench` and `python run.py`."""

from __future__ import annotations

import os
import sys
from typing import Any

import hydra
from omegaconf import DictConfig

from segbench.config import CONF_DIR


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")
def point(config: DictConfig) -> Any:
    """Measure one point."""
    from segbench.runner import run

    return run(config)


def main() -> None:
    """Run the command line; errors become one sentence, unless HYDRA_FULL_ERROR=1 asks for the traceback."""
    from segbench.sweep import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED, SweepCallback

    SweepCallback.show_tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, and the sentence is made here
    try:
        point()
    except KeyboardInterrupt:
        if SweepCallback.running:
            SweepCallback.running.interrupted()
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        if SweepCallback.show_tracebacks:
            raise
        sys.exit(_refuse(error, EXIT_REFUSED, EXIT_FAILED))


def _refuse(error: Exception, refused: int, failed: int) -> int:
    """Print the error as one sentence; returns the exit code."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from segbench.explain import explain

    print(f"segbench: {explain(error)}", file=sys.stderr)
    if isinstance(error, HydraException | OmegaConfBaseException | OSError):
        return refused
    print("segbench: this is unexpected; HYDRA_FULL_ERROR=1 shows where it happened", file=sys.stderr)
    return failed


if __name__ == "__main__":
    main()
