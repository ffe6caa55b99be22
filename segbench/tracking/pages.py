"""Where a sweep's runs are seen in the browser."""

import os
import shlex
from urllib.parse import quote

from segbench.tracking.address import VARIABLE
from segbench.tracking.store import Store

COMPARED = 50
"""Up to so many runs go into one link that compares them; more would make an address that browsers cut."""


def where(store: Store, uri: str | None, run_id: str | None) -> list[str]:
    """Lines that say how to look at a sweep's runs; `uri` is the configured address, where there is one."""
    page = _page(store, run_id)
    if store.address.startswith("http"):
        return [store.address.rstrip("/") + page]
    command = "mlflow ui"
    if "UV" in os.environ:
        command = "uv run mlflow ui" if store.is_file else "uv run --extra server mlflow ui"
    if not store.is_file:
        command += " --backend-store-uri " + (shlex.quote(uri) if uri else f'"${VARIABLE}"')
    return [f"{command}      (in this folder, then open)", "http://127.0.0.1:5000" + page]


def _page(store: Store, run_id: str | None) -> str:
    """The page of all runs, of a sweep's run, or the one that compares its points."""
    if run_id is None:
        return f"/#/experiments/{store.experiment_id}/runs"
    points = store.children(run_id, COMPARED + 1)
    if not 2 <= len(points) <= COMPARED:
        return f"/#/experiments/{store.experiment_id}/runs/{run_id}"
    compared = ",".join(f'"{point.info.run_id}"' for point in reversed(points))
    experiments = quote(f'["{store.experiment_id}"]')
    return f"/#/compare-runs?runs={quote(f'[{compared}]')}&experiments={experiments}"
