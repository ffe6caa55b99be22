"""What every isolated process needs, imported and found out once in the process that they are forked from."""

from segbench import environment, runner

__all__ = ["environment", "runner"]
environment.warm_up()
