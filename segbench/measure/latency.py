"""Latency protocols: a point, and with it its baseline, timed round by round.

In a round every step has its turn, in random order, so that what disturbs the machine meets both. A turn is one untimed
call and a few timed ones, so that each step meets the caches as it leaves them, not as the other does. A batch is a few
rounds on copies of their own: new copies of module and input lie elsewhere in memory, which alone can change a latency
by a percent, and batches are far enough apart to differ in what else the machine does.
"""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from segbench.base.checks import natural_int, positive_int, positive_number
from segbench.base.errors import NotAllowedError, UnsupportedError
from segbench.measure import contention
from segbench.measure.result import Result
from segbench.measure.session import Maker, Session
from segbench.measure.statistics import FEWEST_SAMPLES, drifts

SETTLING_S = 0.02
"""Untimed calls before a turn where steps compute on thread pools of their own.

The threads of one pool go on spinning for some milliseconds after its turn and hold up the other's: ONNX Runtime was
seen at 0.38 ms right after eager calls, at 0.23 ms 5 ms later, and from 20 ms on at the 0.20 ms that it takes alone
(DWBlock of 64 channels, 2 cores)."""

ENOUGH = f"an interval needs {FEWEST_SAMPLES} or more"


@dataclass(frozen=True)
class FixedProtocol:
    """Call each step `warmup_calls` times untimed, then `timed_calls` times, each call timed by itself.

    Beside a baseline the two take turns.
    """

    warmup_calls: int
    timed_calls: int

    def __post_init__(self) -> None:
        natural_int("timing.warmup_calls", self.warmup_calls)
        if positive_int("timing.timed_calls", self.timed_calls) < FEWEST_SAMPLES:
            raise NotAllowedError("timing.timed_calls", self.timed_calls, ENOUGH)

    def measure(self, makers: Sequence[Maker], device: torch.device, seed: int = 0, settling_s: float = 0) -> Result:
        """Time the steps of `makers`, the point's first and its baseline's second."""
        steps = [make() for make in makers]
        session = Session(steps, device, random.Random(seed), settling_s)
        before = contention.Usage.now()
        for _ in range(self.warmup_calls):
            session.call()
        for done in range(0, self.timed_calls, session.turn):
            session.round(0, min(session.turn, self.timed_calls - done))
        return session.result({"warmup_rounds": float(self.warmup_calls)}, {}, before)


@dataclass(frozen=True)
class AdaptiveProtocol:
    """Time until the intervals are narrower than the target, or the budget is spent.

    `target_percent` is the width of the 95% interval over its median that must be reached by the median, and by the
    ratio where there is a baseline. The budgets are seconds for the point and its baseline together, a retry of a
    contended or unsteady measurement included in `retries`.
    """

    target_percent: float
    budget_s: float
    warmup_budget_s: float
    batch_s: float
    fewest_batches: int
    retries: int

    def __post_init__(self) -> None:
        for name in ("target_percent", "budget_s", "warmup_budget_s", "batch_s"):
            positive_number(f"timing.{name}", getattr(self, name))
        natural_int("timing.retries", self.retries)
        if positive_int("timing.fewest_batches", self.fewest_batches) < FEWEST_SAMPLES:
            raise NotAllowedError("timing.fewest_batches", self.fewest_batches, ENOUGH)

    def measure(self, makers: Sequence[Maker], device: torch.device, seed: int = 0, settling_s: float = 0) -> Result:
        """Time the steps of `makers`; the calmest of up to 1 + `retries` attempts.

        Raises `UnsupportedError` where the budget does not hold a single sample of each step.
        """
        attempts: list[Result] = []
        for attempt in range(1 + self.retries):
            attempts.append(self._attempt(makers, device, random.Random(f"{seed}/{attempt}"), settling_s))
            if all(_calmness(attempts[-1])):
                break
        best = max(attempts, key=_calmness)
        best.metrics["timing/attempts"] = float(len(attempts))
        return best

    def _attempt(
        self, makers: Sequence[Maker], device: torch.device, chance: random.Random, settling_s: float
    ) -> Result:
        before = contention.Usage.now()
        session = Session([make() for make in makers], device, chance, settling_s)
        sample_s, round_s = session.calibrate()
        if sample_s > self.budget_s:
            raise UnsupportedError(
                f"timing.budget_s={self.budget_s} is too short for one sample of each step, which takes "
                f"{sample_s:.3g} s: the {FEWEST_SAMPLES} that an interval needs take {FEWEST_SAMPLES * sample_s:.3g} s"
            )
        warm, rounds = self._warm_up(session, round_s)
        deadline = time.monotonic() + self.budget_s
        batches, check = 0, self.fewest_batches
        converged = False
        while not converged and (time.monotonic() < deadline or len(session.batches) < FEWEST_SAMPLES):
            session.renew(makers)
            stop = min(deadline, time.monotonic() + self.batch_s)
            session.round(batches)
            while time.monotonic() < stop:
                session.round(batches)
            batches += 1
            if batches >= check:  # looking rarely keeps a lucky interval from ending the measurement too soon
                converged = session.width_percent() <= self.target_percent
                check = math.ceil(1.25 * check)
        facts = {"warmup_rounds": float(rounds), "batches": float(batches)}
        return session.result(facts, {"warmed_up": warm, "converged": converged}, before)

    def _warm_up(self, session: Session, round_s: float) -> tuple[bool, int]:
        """Run rounds until the last ones no longer drift, or the budget is spent; whether, and how many."""
        window = 2 * max(10, min(100, math.ceil(session.turn * self.batch_s / round_s)))
        deadline = time.monotonic() + self.warmup_budget_s
        trial = session.fresh()
        while time.monotonic() < deadline:
            wanted = len(trial.batches) + window
            while len(trial.batches) < wanted and time.monotonic() < deadline:
                trial.round(batch=0)
            recent = [series[-window:] for series in trial.headlines()]
            if len(recent[0]) == window and not any(drifts(series) for series in recent):
                return True, len(trial.batches) // trial.turn
        return False, len(trial.batches) // trial.turn


def _calmness(timed: Result) -> tuple[bool, bool]:
    """Whether a measurement was steady, which counts more, and whether it had the processor to itself."""
    return timed.verdicts.get("steady", True), not timed.verdicts["contended"]
