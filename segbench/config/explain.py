"""One sentence for an error of the configuration: the value, the rule and what is allowed."""

from __future__ import annotations

import difflib

from hydra.errors import MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException


def explain(error: BaseException) -> str:
    """The error as one line that a user can act on."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={option} is not a choice: {group} is one of {', '.join(sorted(error.options))}"
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return _explain_key(cause)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename} cannot be used ({error.strerror}): choose a folder that can be written"
    return " ".join(str(error).split()) or type(error).__name__


def _explain_key(error: OmegaConfBaseException) -> str:
    """An unknown key with its neighbours, or OmegaConf's own first line with the key it is about."""
    key = str(error.full_key)
    first = str(error).splitlines()[0]
    if "is not in struct" not in first:
        return f"{key}: {first}"
    parent = error.parent_node
    siblings = sorted(str(name) for name in parent) if parent is not None else []
    allowed = [name for name in siblings if not name.startswith("_") and name != "hydra"]
    near = difflib.get_close_matches(key.rpartition(".")[2], allowed, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    group = key.rpartition(".")[0]
    target = parent.get("_target_") if isinstance(parent, DictConfig) else None
    owner = f"{group} (here {target})" if target else group or "the configuration"
    return f"{key} is not a key: {hint}{owner} has {', '.join(allowed) or 'no options'}"
