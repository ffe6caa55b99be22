"""Re-parameterisation: from the training form of a module to the form that is deployed."""

import inspect
from collections.abc import Callable

from torch import nn


class Deployable(nn.Module):
    """A module with two forms because its parts have: `switch_to_deploy` switches them all."""

    def switch_to_deploy(self) -> None:
        """Switch every part that has two forms to its deploy form, in place. Idempotent."""
        for child in self.children():
            switch_to_deploy(child)


METHODS = ("switch_to_deploy", "reparameterize")
"""What modules call the switch: `switch_to_deploy` here and in RepVGG, `reparameterize` in timm."""


def switch_to_deploy(module: nn.Module) -> nn.Module:
    """Switch `module` to its deploy form, in place, or else its parts; returns `module`.

    A part that offers a switch of its own is responsible for what is inside it.
    """
    if switch := _switch(module):
        switch()
    else:
        for child in list(module.children()):
            switch_to_deploy(child)
    return module


def has_deploy_form(module: nn.Module) -> bool:
    """Whether any part of `module` offers a deploy form."""
    return any(_switch(part) for part in module.modules())


def _switch(part: nn.Module) -> Callable[[], object] | None:
    """The part's own switch: a method of one of the names that needs no argument (a VAE's sampling does)."""
    found = (getattr(part, name, None) for name in METHODS)
    return next((method for method in found if callable(method) and not _needs_arguments(method)), None)


def _needs_arguments(method: Callable[..., object]) -> bool:
    parameters = inspect.signature(method).parameters.values()
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(p.default is p.empty and p.kind not in optional for p in parameters)
