"""execution=eager: the module as PyTorch runs it."""

from dataclasses import dataclass

from segbench.step.placed import Execution, Placed


@dataclass(frozen=True)
class Eager:
    """Call the module."""

    def set_up(self, placed: Placed) -> Execution:
        """A step on the module, and steps on fresh copies; a training step stays on its own module."""
        step = placed.step()
        return Execution(step, (lambda: step) if placed.training else placed.fresh_step, output=step)
