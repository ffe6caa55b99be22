"""Many points: what a sweep asks for, its folder, its resuming, its launchers, and what it shows and exits with.

It may know every other room: config, point, tracking and report. Only the command line knows it.
"""
