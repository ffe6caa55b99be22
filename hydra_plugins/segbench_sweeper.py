"""Hydra's basic sweeper with two savings, for sweeps of many cheap points: composing is most of their cost."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_search_path import ConfigSearchPath


class ChoiceSweeper(BasicSweeper):
    """Grid sweep that checks each combination of choices once, and reads each configuration file once.

    Whether a point composes depends on the config-group choices and on the names of the overridden keys,
    not on the values of plain keys: one point for each combination of choices is checked before the first runs.
    """

    def setup(self, **context: Any) -> None:
        """Keep the configuration files in memory for all points."""
        super().setup(**context)
        loader = context["hydra_context"].config_loader
        if isinstance(loader, ConfigLoaderImpl):
            loader.repository = FilesReadOnce(loader.repository)  # type: ignore[assignment]  # the same interface

    def get_job_batch(self) -> Sequence[Sequence[str]]:
        """The next points; of a sweep that is resumed, those without a record."""
        from segbench.sweep.callback import SweepCallback

        batch = super().get_job_batch()
        return SweepCallback.running.remaining(batch) if SweepCallback.running else batch

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Raise Hydra's own error where a combination of choices cannot be composed."""
        assert self.config is not None
        groups = set(self.config.hydra.runtime.choices)
        first: dict[tuple[str, ...], Sequence[str]] = {}
        for overrides in batch:
            first.setdefault(tuple(_shape(override, groups) for override in overrides), overrides)
        super().validate_batch_is_legal(list(first.values()))


class FilesReadOnce:
    """A configuration repository that reads a file once, whatever number of configurations it is composed into."""

    def __init__(self, delegate: Any) -> None:
        self._delegate = delegate
        self._files: dict[str, Any] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> FilesReadOnce:
        return self  # Hydra copies the repository for every configuration: share what was read

    def __getstate__(self) -> dict[str, Any]:
        return {"_delegate": self._delegate, "_files": {}}  # another process reads them anew

    def __getattr__(self, name: str) -> Any:
        if name == "_delegate":  # not there yet: this is being unpickled
            raise AttributeError(name)
        return getattr(self._delegate, name)

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Take a new search path and forget the files of the old one."""
        self._delegate = copy.deepcopy(self._delegate)
        self._delegate.initialize_sources(config_search_path)
        self._files = {}

    def load_config(self, config_path: str) -> Any:
        """A fresh copy of a file's content: composing changes it."""
        if config_path not in self._files:
            self._files[config_path] = self._delegate.load_config(config_path=config_path)
        return copy.deepcopy(self._files[config_path])


def _shape(override: str, groups: set[str]) -> str:
    """The part of an override that decides whether it composes."""
    key = override.partition("=")[0]
    return override if key.lstrip("+~").partition("@")[0] in groups else key
