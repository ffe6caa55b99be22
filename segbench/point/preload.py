"""What every isolated process needs, imported and found out once in the process that they are forked from."""

import torch._dynamo  # FLOP counting and compilation load these, for seconds
import torch._inductor.compile_fx

from segbench.point import entry, environment

__all__ = ["entry", "environment", "torch"]
environment.warm_up()
