"""Configurations: composing them, the table of keys, overrides, and errors in words. Hydra ends here.

It knows base only.
"""
