"""Measurements: one quantity a file, plain functions on plain values.

What is found comes back as plain numbers or as a `Result`. It knows blocks (the deploy form) and base.
"""
