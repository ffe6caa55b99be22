"""model=custom: any `nn.Module` on the Python path or in the current folder, with nothing to register."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from torch import nn


def custom(target: str, kwargs: Mapping[str, Any] | None) -> nn.Module:
    """Build `target(**kwargs)`, `target` being package.module.Class; the current folder is looked through as well.

    Raises `ValueError` where the target cannot be found, is refused by Hydra, is not a module, or does not take kwargs.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = instantiate({"_target_": target, **(kwargs or {})}, _convert_="all")
    except InstantiationException as error:
        raise ValueError(_explained(target, kwargs or {}, error)) from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"model.target={target} is not allowed: it gives a {type(module).__name__}, not an nn.Module")
    return module


def _explained(target: str, kwargs: Mapping[str, Any], error: InstantiationException) -> str:
    """What is wrong with the target, in one sentence."""
    cause = error.__cause__ or error
    given = dict(kwargs)
    if isinstance(cause, TypeError):
        try:
            signature = str(inspect.signature(get_class(target)))
        except (ValueError, TypeError, ImportError, InstantiationException):
            signature = ""
        return f"model.target={target} does not take model.kwargs={given}: {cause}. It is {target}{signature}"
    if isinstance(cause, ImportError):
        return f"model.target={target} is not there: {_missing(target)}"
    reason = " ".join(str(cause).split())
    return f"model.target={target} with model.kwargs={given} cannot be built: {type(cause).__name__}: {reason}"


def _missing(target: str) -> str:
    """Which part of package.module.Class cannot be found."""
    package, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        return f"{error} (looked in {Path.cwd().name}/ and on the Python path)"
    except Exception as error:
        return f"importing {package} raises {type(error).__name__}: {error}"
    classes = [key for key, value in vars(module).items() if inspect.isclass(value) and issubclass(value, nn.Module)]
    return f"{package} has no {name}; its modules are {', '.join(classes) or 'none'}"
