"""The paragraph on the measurement, also from records of older versions."""

from dataclasses import replace

import pytest
from known_points import record

from segbench.report.protocol import protocol

ADAPTIVE = {"_target_": "segbench.measure.latency.AdaptiveProtocol", "target_percent": 1.0, "budget_s": 5.0}


@pytest.mark.parametrize("room", ["execution", "step"])
def test_executions_and_protocols_are_known_by_their_classes(room: str) -> None:
    config = {"execution": {"_target_": f"segbench.{room}.eager.Eager"}, "timing": ADAPTIVE, "form": "deploy"}
    text = protocol([replace(record(1.0), config=config)])
    assert "Eager, deploy form in evaluation mode" in text and "narrower than 1% of its middle or 5 s" in text


def test_keys_that_a_record_lacks_end_no_paragraph() -> None:
    bare = replace(record(1.0), config={}, environment={}, verdicts={}, metrics={})
    assert protocol([bare]).startswith("Measured on None, None cores, None")
    assert protocol([replace(bare, status="failed", reason="so")]) == "No point was measured."


def test_what_differs_is_counted() -> None:
    text = protocol([record(1.0, host="a"), record(1.0, host="b"), record(1.0, host="b")])
    assert "2 cores, a, None threads, None (1 points); a processor, 2 cores, b, None threads, None (2 points)" in text
