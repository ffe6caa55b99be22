"""Points whose figures are known, for the tests of reports."""

from dataclasses import replace
from typing import Any

from segbench.point.record import Record
from segbench.report.comparison import swept_keys
from segbench.report.points import Point, with_axes

NASTY = '<script>alert("1")</script> & 100% of_it \\ ~'


def record(
    latency: float,
    ratio: float | None = None,
    width: float = 0.02,
    parameters: int = 100,
    host: str = "here",
    baseline: dict[str, Any] | None = None,
    verdicts: dict[str, bool] | None = None,
    **axes: Any,
) -> Record:
    """A point with a latency, an optional ratio to its baseline, and intervals of so much of their middles."""
    metrics = {"parameters/deploy": parameters, "latency_ms/n": 100, "error/vs_reference": 1e-7}
    for name, value in (("latency_ms", latency), ("ratio_to_baseline", ratio)):
        if value is not None:
            half = width * value / 2
            metrics |= {f"{name}/median": value, f"{name}/ci95_low": value - half, f"{name}/ci95_high": value + half}
    return Record(
        status="ok",
        reason=None,
        overrides=[f"{key}={value}" for key, value in axes.items()],
        parameters=axes,
        config={"baseline": baseline, "name": "test", "report": None, "precision": {}, "timing": {}},
        environment={"cpu": "a processor", "host": host, "cores_physical": 2},
        metrics=metrics,
        verdicts=verdicts or {"steady": True, "contended": False, "converged": True},
        started="2026-11-21T10:00:00.000+00:00",
    )


def points(*records: Record) -> list[Point]:
    found = [Point(each, sweep="sweep", name=str(index)) for index, each in enumerate(records)]
    return with_axes(found, swept_keys(records))


def lost(point: Point) -> Point:
    """The same point, failed."""
    return replace(point, record=replace(point.record, status="failed", reason="so", metrics={}))


def table_points() -> list[Point]:
    return points(
        record(1.0, 1.0, block="dw", channels=24, parameters=10, baseline={"block": "dw"}),
        record(2.0, 2.0, block="stm", channels=24, parameters=20, baseline={"block": "dw"}),
        record(3.0, 1.0, block="dw", channels=48, parameters=30, baseline={"block": "dw"}),
        record(3.0, 1.001, block="stm", channels=48, parameters=30, baseline={"block": "dw"}),
    )
