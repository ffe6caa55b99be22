"""Points in this process get and leave behind what they do with Hydra's own launcher."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus, setup_globals
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from segbench.config.compose import CONF_DIR
from segbench.config.loader import PointLoader
from segbench.sweep.local import LocalLauncher

POINT = ["block=stm", "channels=24", "name='true'", "+mine='123'", "+text='a: ${channels} é'", "baseline={block:dw}"]


def launched(launcher: BasicLauncher, folder: Path, *more: str) -> dict[str, Any]:
    """What the task of a point sees, and what is in the point's folder."""
    setup_globals()
    version.setbase("1.3")
    loader = PointLoader(create_automatic_config_search_path(None, None, str(CONF_DIR)))
    given = [f"hydra.sweep.dir={folder}", "hydra.runtime.cwd=here"]
    master = loader.load_configuration("config", given, RunMode.MULTIRUN)
    seen: dict[str, Any] = {}

    def task(config: DictConfig) -> str:
        seen["config"] = OmegaConf.to_container(config, resolve=True)
        seen["struct"] = OmegaConf.is_struct(config), OmegaConf.is_struct(config.block)
        seen["hydra"] = OmegaConf.to_container(HydraConfig.get(), resolve=False)
        seen["resolved"] = (
            HydraConfig.get().sweep.dir,
            HydraConfig.get().job.num,
            HydraConfig.get().run.dir.split("/")[1],
        )
        config.channels = 7  # instantiating changes configurations; what Hydra knows stays
        if "seed=9" in HydraConfig.get().overrides.task:
            raise RuntimeError("broken")
        return "done"

    context = HydraContext(config_loader=loader, callbacks=Callbacks())
    launcher.setup(hydra_context=context, task_function=task, config=master)
    (returned,) = launcher.launch([[*POINT, *more]], initial_job_idx=3)
    seen["status"], seen["overrides"] = returned.status, list(returned.overrides or ())
    files = {path.name: yaml.safe_load(path.read_text()) for path in (folder / "3" / ".hydra").iterdir()}
    seen["files"] = files
    assert not HydraConfig.initialized()
    return seen


@pytest.mark.parametrize("more", [(), ("seed=9",), ("hydra.output_subdir=.hydra",)], ids=str)
def test_a_point_sees_and_leaves_what_it_does_with_hydra(tmp_path: Path, more: tuple[str, ...]) -> None:
    folder = tmp_path / "sweep"
    ours = launched(LocalLauncher(), folder, *more)
    for path in folder.rglob("*.yaml"):
        path.unlink()
    hydras = launched(BasicLauncher(), folder, *more)
    for key in ("config", "struct", "hydra", "resolved", "status", "overrides", "files"):
        assert ours[key] == hydras[key], key
    assert ours["status"] is (JobStatus.FAILED if more == ("seed=9",) else JobStatus.COMPLETED)
    assert ours["files"]["config.yaml"]["name"] == "true" and ours["files"]["config.yaml"]["mine"] == "123"
