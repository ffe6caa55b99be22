"""Configurations: composing them, the table of keys, overrides, and errors in words.

It knows Hydra and base only; the rooms above get plain values and objects from here.
"""
