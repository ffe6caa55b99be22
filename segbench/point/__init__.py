"""One point: from a composed configuration over the gate and the measurements to its record.

It knows config, step, measure, blocks and base; neither sweep, tracking nor report.
"""
