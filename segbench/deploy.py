"""Re-parameterisation: from the training form of a module to the form that is deployed."""

from __future__ import annotations

from torch import nn


class Deployable(nn.Module):
    """A module with two forms because its parts have: `switch_to_deploy` switches them all."""

    def switch_to_deploy(self) -> None:
        """Switch every part that has two forms to its deploy form, in place. Idempotent."""
        for child in self.children():
            switch_to_deploy(child)


def switch_to_deploy(module: nn.Module) -> nn.Module:
    """Switch `module` and all its parts that offer `switch_to_deploy`, in place; returns `module`."""
    for part in list(module.modules()):
        switch = getattr(part, "switch_to_deploy", None)
        if callable(switch):
            switch()
    return module


def has_deploy_form(module: nn.Module) -> bool:
    """Whether any part of `module` offers `switch_to_deploy`."""
    return any(callable(getattr(part, "switch_to_deploy", None)) for part in module.modules())
