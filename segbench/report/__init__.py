"""Records become figures with intervals, tables, plots, pages and bundles; only here are numbers rounded.

Knows config and base, of a measurement its record (point.record), and the formulas of measure.
Only sweep and the command line know it.
"""
