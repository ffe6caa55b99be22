"""The command line: `segbench`, `python -m segbench` and `python run.py`."""

import os
import sys
import warnings
from typing import Any

from segbench.base.interrupts import EXIT_INTERRUPTED, EXIT_TERMINATED, Terminated, stop_in_order
from segbench.sweep.ending import EXIT_FAILED, EXIT_REFUSED, TRACEBACKS, TRACEBACKS_WANTED, EndedError, RefusedError


def main() -> None:
    """Run the command line, and exit with how it ended."""
    sys.exit(_run())


def _run() -> int:
    """Run the command line; errors become one sentence, unless HYDRA_FULL_ERROR=1 asks for the traceback."""
    from segbench.sweep.studies import QUICK, run_all, several_studies
    from segbench.tracking.address import refuse_secrets

    stop_in_order()
    try:
        refuse_secrets(sys.argv[1:])
        sys.argv = [f"{QUICK}=true" if argument == QUICK else argument for argument in sys.argv]
        if several := several_studies(sys.argv[1:]):
            return run_all(*several)
        _compose_and_run()
    except EndedError as end:
        return end.code
    except KeyboardInterrupt as stop:
        return EXIT_TERMINATED if isinstance(stop, Terminated) else EXIT_INTERRUPTED
    except Exception as error:
        if TRACEBACKS_WANTED:
            raise
        return _refuse(error)
    return 0


def _compose_and_run() -> None:
    import hydra
    from hydra._internal import hydra as application
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import DictConfig

    from segbench.config.compose import CONF_DIR
    from segbench.config.loader import PointLoader

    os.environ[TRACEBACKS] = "1"  # Hydra raises, and the sentence is made here
    raised: list[Exception] = []

    def task(config: DictConfig) -> Any:
        """What Hydra calls for each point, in the process that measures it."""
        from segbench.sweep import job, single

        if HydraConfig.get().mode is not RunMode.RUN:
            return job.run(config)
        try:
            single.run(config)
        except Exception as error:  # Hydra would print a line of its own about it
            raised.append(error)
        return None

    application.ConfigLoaderImpl = PointLoader  # type: ignore[attr-defined]  # Hydra has no other way to be given one
    warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")
    hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(task)()
    if raised:
        raise raised[0]


def _refuse(error: Exception) -> int:
    """Print the error as one sentence; returns the exit code."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from segbench.base.errors import NotAllowedError
    from segbench.config.explain import explain
    from segbench.tracking.address import AddressError

    print(f"segbench: {explain(error)}", file=sys.stderr)
    refused = (HydraException, OmegaConfBaseException, OSError, RefusedError, NotAllowedError, AddressError)
    if isinstance(error, refused):
        return EXIT_REFUSED
    print(f"segbench: this is unexpected; {TRACEBACKS}=1 shows where it happened", file=sys.stderr)
    return EXIT_FAILED


if __name__ == "__main__":
    main()
