"""What every room may use: errors, checks of values, whole files, processes, and stopping in order.

Knows no other room.
"""
