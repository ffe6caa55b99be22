"""Re-parameterisation: from the training form of a module to the form that is deployed."""

from __future__ import annotations

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
    """Switch `module` and all its parts that offer a deploy form, in place; returns `module`."""
    for part in list(module.modules()):
        if switch := _switch(part):
            switch()
    return module


def has_deploy_form(module: nn.Module) -> bool:
    """Whether any part of `module` offers a deploy form."""
    return any(_switch(part) for part in module.modules())


def _switch(part: nn.Module) -> Callable[[], object] | None:
    found = (getattr(part, name, None) for name in METHODS)
    return next((method for method in found if callable(method)), None)
