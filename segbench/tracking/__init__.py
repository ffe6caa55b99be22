"""Records to MLflow: addresses of its stores, the runs of sweeps and points, and what was not sent yet.

Of a measurement this room knows `point.record` only; of the rest it knows `base`. Only here is MLflow imported.
"""
