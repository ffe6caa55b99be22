"""MLflow's creation of its tables stands no company: one process at a time where several meet an empty store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

LOCK = 0x5E6BE9C
"""The number by which the processes know the lock; the database keeps it and frees it when a process is gone."""


@contextmanager
def alone(address: str) -> Iterator[None]:
    """Hold the lock of a database or of a SQLite file; a server sees to that itself."""
    if address.startswith("sqlite:///"):
        path = Path(address.removeprefix("sqlite:///").partition("?")[0])
        with FileLock(path.with_name(f".{path.name}.lock")):
            yield
        return
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
