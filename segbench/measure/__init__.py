"""Measurements: one quantity a file, plain functions on plain values."""
