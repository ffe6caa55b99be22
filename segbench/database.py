"""MLflow's creation of its tables stands no company: one process at a time where several meet an empty database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

LOCK = 0x5E6BE9C
"""The number by which the processes know the lock; the database keeps it and frees it when a process is gone."""


@contextmanager
def alone(address: str) -> Iterator[None]:
    """Hold the database's lock; other stores have none, and need none."""
    if not address.startswith("postgresql"):
        yield
        return
    from sqlalchemy import create_engine, text

    engine = create_engine(address)
    try:
        with engine.connect() as connection:
            connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
            yield
    finally:
        engine.dispose()
