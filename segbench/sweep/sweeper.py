"""Hydra's sweeper: it expands what was asked for into points, and controls the sweep from its opening to its close."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins import basic_launcher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from segbench.config.overrides import parsed
from segbench.sweep.axes import sweep_overrides
from segbench.sweep.ending import EXIT_FAILED
from segbench.sweep.launcher import check_launcher
from segbench.sweep.local import run_job


class SessionSweeper(BasicSweeper):
    """Grid sweep over everything given with commas, in a session that is closed in order whatever happens."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before the sweep. `RefusedError` for a launcher that cannot work here."""
        check_launcher(config.hydra.runtime.choices["hydra/launcher"], config.hydra.launcher._target_)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        basic_launcher.run_job = run_job  # type: ignore[assignment, attr-defined]  # Hydra has no other way to be given one

    def sweep(self, arguments: list[str]) -> None:
        """Measure the points that the overrides span; exits with 1 where some of them failed."""
        from segbench.sweep.session import Session

        assert self.config is not None and self.launcher is not None
        overrides = sweep_overrides(self.config, self.params, arguments)
        points = self._points(overrides)
        self._check_choices(points)
        with Session(self.config, overrides, points) as session:
            OmegaConf.save(self.config, session.folder / "multirun.yaml")
            first = 0
            for batch in self.split_overrides_to_chunks(session.to_measure(), self.max_batch_size):
                session.show_missed(batch, self.launcher.launch(batch, initial_job_idx=first))
                first += len(batch)
        if session.failed:
            raise SystemExit(EXIT_FAILED)

    def _points(self, overrides: list[str]) -> list[list[str]]:
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)  # which `glob` looks through
        return self.split_arguments(parser.parse_overrides(overrides), max_batch_size=None)[0]

    def _check_choices(self, points: Sequence[Sequence[str]]) -> None:
        """Raise Hydra's own error where a point cannot be composed.

        Whether it can depends on the choices and on the names of the other keys, not on their values: one point for
        each combination of these is composed.
        """
        assert self.hydra_context is not None
        loader: Any = self.hydra_context.config_loader
        first: dict[tuple[str, ...], Sequence[str]] = {}
        for point in points:
            shape = [
                key.get_key_element() if loader.sets_value(key) else str(key.input_line) for key in map(parsed, point)
            ]
            first.setdefault(tuple(shape), point)
        self.validate_batch_is_legal(list(first.values()))
