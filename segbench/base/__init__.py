"""What every room may use: errors, checks of values, whole files, processes, and stopping in order.

It knows no other room.
"""
