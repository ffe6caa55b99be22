"""Claims are decided by points whose figures are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from known_points import lost, points, record

from segbench.report.claims import CONFIRMED, IN_PART, REFUTED, UNANSWERED, UNDECIDED, decide
from segbench.report.study import ClaimSpec

FASTER = ClaimSpec("a is faster than b", "a test", "latency", {"block": "a"}, "smaller", than={"block": "b"})


@pytest.mark.parametrize(
    ("latencies", "verdict", "settings"),
    [
        ([(1, 2), (1, 2)], CONFIRMED, 2),
        ([(1, 2), (2, 1)], REFUTED, 2),
        ([(1, 2), (1, 1.001)], UNDECIDED, 2),
        ([(2, 1)], REFUTED, 1),
        ([], UNANSWERED, 0),
    ],
)
def test_claims_are_decided_over_all_settings(
    latencies: list[tuple[float, float]], verdict: str, settings: int
) -> None:
    found = points(
        *(
            record(latency, block=block, channels=channels)
            for channels, pair in enumerate(latencies)
            for block, latency in zip("ab", pair, strict=True)
        )
    )
    finding = decide(FASTER, found)
    assert (finding.verdict, finding.settings) == (verdict, settings)


def test_disturbed_timings_decide_nothing_and_exact_figures_all_the_same() -> None:
    disturbed = {"steady": True, "contended": True}
    found = points(record(1.0, block="a", parameters=5, verdicts=disturbed), record(2.0, block="b", parameters=9))
    assert decide(FASTER, found).verdict == UNDECIDED
    assert "disturbed" in decide(FASTER, found).evidence
    lighter = replace(FASTER, quantity="parameters")
    assert decide(lighter, found).verdict == CONFIRMED


def test_a_claim_is_confirmed_in_part_where_a_setting_was_not_measured() -> None:
    found = points(
        *(record(latency, block=block, channels=c) for c in (1, 2) for block, latency in (("a", 1), ("b", 2)))
    )
    assert decide(FASTER, found).verdict == CONFIRMED
    partly = decide(FASTER, [*found[:3], lost(found[3])])
    assert (partly.verdict, partly.settings) == (IN_PART, 1)
    assert "not measured: channels=2" in partly.evidence
    several = replace(FASTER, than={"block": ["b", "c"]})
    assert decide(several, found).verdict == IN_PART and "block=c" in decide(several, found).evidence


def test_an_axis_that_only_of_names_has_that_value_on_both_sides() -> None:
    """a is faster than b in every stage, and slower in stage 2 than b in stage 1: the claim is of stages 2 and 3."""
    found = points(
        *(
            record(latency * stage**3, block=block, stage=stage)
            for stage in (1, 2, 3)
            for block, latency in (("a", 1), ("b", 2))
        )
    )
    narrowed = decide(replace(FASTER, of={"block": "a", "stage": [2, 3]}), found)
    assert (narrowed.verdict, narrowed.settings) == (CONFIRMED, 2)


def test_settings_with_a_slash_in_their_name_are_settings() -> None:
    """Twice as slow at each of two presets: a claim must not compare across them."""
    latencies = {("a", "pair/1"): 1, ("b", "pair/1"): 2, ("a", "pair/2"): 10, ("b", "pair/2"): 20}
    found = points(*(record(latency, block=block, stage=stage) for (block, stage), latency in latencies.items()))
    assert decide(FASTER, found).verdict == CONFIRMED


@pytest.mark.parametrize(("value", "verdict"), [(100.0, CONFIRMED), (100.9, CONFIRMED), (60.0, REFUTED)])
def test_claims_of_a_value(value: float, verdict: str) -> None:
    claim = ClaimSpec("it has so many", "a test", "parameters", {"block": "a"}, "equal", value=value)
    assert decide(claim, points(record(1.0, block="a", parameters=100), record(1.0, block="b"))).verdict == verdict


def test_a_true_claim_over_many_settings_is_seldom_refuted() -> None:
    """Two equal blocks in 20 settings, 200 studies of normal noise: the intervals are widened for their number."""
    random = np.random.default_rng(0)
    refuted = 0
    for _ in range(200):
        noise = np.exp(random.normal(0, 0.01, size=(20, 2)))
        width = 2 * 1.96 * 0.01
        found = points(
            *(
                record(float(noise[i, j]), width=width, block=block, channels=i)
                for i in range(20)
                for j, block in enumerate("ab")
            )
        )
        refuted += decide(FASTER, found).verdict == REFUTED
    assert refuted <= 0.05 * 200 + 2 * math.sqrt(0.05 * 0.95 * 200)


@pytest.mark.parametrize(("parameters", "verdict"), [(0, CONFIRMED), (1, REFUTED)])
def test_a_claim_may_be_of_zero(parameters: int, verdict: str) -> None:
    claim = ClaimSpec("it has none", "a test", "parameters", {"block": "a"}, "equal", value=0)
    assert decide(claim, points(record(1.0, block="a", parameters=parameters))).verdict == verdict
