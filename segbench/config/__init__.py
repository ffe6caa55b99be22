"""Configurations: composing them, the table of keys, overrides, and errors in words. Hydra ends here.

Knows base.
"""
