"""Blocks: one a file, each built as `block(channels=..., in_channels=...)` by a model.

They know torch, the variants in prcm, and the checks and errors of base.
"""
