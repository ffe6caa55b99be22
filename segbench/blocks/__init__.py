"""Blocks: one a file, each built as `block(channels=..., in_channels=...)` by a model."""
