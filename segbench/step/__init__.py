"""A module and its input become a step: a call without arguments that can be checked and timed.

Device, precision, training step and inputs, and one file for each execution in conf/execution.
It knows blocks (the deploy form), measure (what a result holds) and base.
"""
