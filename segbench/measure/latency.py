"""Latency protocols: a point, and with it its baseline, timed round by round.

In a round every step has its turn, in random order, so that what disturbs the machine meets both. A turn is one untimed
call and a few timed ones, so that each step meets the caches as it leaves them, not as the other does. A batch is a few
rounds on copies of their own: new copies of module and input lie elsewhere in memory, which alone can change a latency
by a percent, and batches are far enough apart to differ in what else the machine does.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from segbench.base.checks import natural_int, positive_int, positive_number
from segbench.base.errors import UnsupportedError
from segbench.measure import contention
from segbench.measure.clock import Clock, Step, clock_for, timer_floor_ms
from segbench.measure.gpu import gpu_evidence
from segbench.measure.statistics import FEWEST_FOR_DRIFT, FEWEST_SAMPLES, drifts, median_interval, ratio_interval

BASELINE = "baseline_"
"""Prefix of the baseline's series in the samples."""
SHORTEST_SAMPLE_MS = 0.1
"""A step shorter than this is called several times for one sample, so that a sample is long against the clock."""
CALLS_IN_A_TURN = 4
LONGEST_IN_TURNS_MS = 20.0
"""Longer steps alternate call by call: refilling the caches costs little against them."""

SETTLING_S = 0.02
"""Untimed calls before a turn where steps compute on thread pools of their own.

The threads of one pool go on spinning for some milliseconds after its turn and hold up the other's: ONNX Runtime was
seen at 0.38 ms right after eager calls, at 0.23 ms 5 ms later, and from 20 ms on at the 0.20 ms that it takes alone
(DWBlock of 64 channels, 2 cores)."""

Maker = Callable[[], Step]
"""Makes a step on copies of its own."""


@dataclass(frozen=True)
class Timed:
    """Raw series in milliseconds by their names, the batch of every sample, and what is known of the measurement."""

    samples: dict[str, list[float]]
    facts: dict[str, float] = field(default_factory=dict)
    verdicts: dict[str, bool] = field(default_factory=dict)


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
            raise ValueError(
                f"timing.timed_calls={self.timed_calls} is not allowed: an interval needs {FEWEST_SAMPLES} or more"
            )

    def measure(self, makers: Sequence[Maker], device: torch.device, seed: int = 0, settling_s: float = 0) -> Timed:
        """Time the steps of `makers`, the point's first and its baseline's second."""
        steps = [make() for make in makers]
        session = Session(steps, device, random.Random(seed), inner=[1] * len(makers), settling_s=settling_s)
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
            raise ValueError(
                f"timing.fewest_batches={self.fewest_batches} is not allowed: "
                f"an interval needs {FEWEST_SAMPLES} or more"
            )

    def measure(self, makers: Sequence[Maker], device: torch.device, seed: int = 0, settling_s: float = 0) -> Timed:
        """Time the steps of `makers`; the calmest of up to 1 + `retries` attempts.

        Raises `UnsupportedError` where the budget does not hold a single sample of each step.
        """
        attempts: list[Timed] = []
        for attempt in range(1 + self.retries):
            attempts.append(self._attempt(makers, device, random.Random(f"{seed}/{attempt}"), settling_s))
            if attempts[-1].verdicts.get("steady", True) and not attempts[-1].verdicts["contended"]:
                break
        best = max(attempts, key=lambda timed: (timed.verdicts.get("steady", True), not timed.verdicts["contended"]))
        return Timed(best.samples, best.facts | {"attempts": float(len(attempts))}, best.verdicts)

    def _attempt(
        self, makers: Sequence[Maker], device: torch.device, chance: random.Random, settling_s: float
    ) -> Timed:
        before = contention.Usage.now()
        session = Session([make() for make in makers], device, chance, settling_s=settling_s)
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


class Session:
    """Steps that are timed side by side, and their series so far."""

    def __init__(
        self,
        steps: list[Step],
        device: torch.device,
        chance: random.Random,
        inner: list[int] | None = None,
        settling_s: float = 0,
    ) -> None:
        self.clock: Clock
        self.clock, self.names = clock_for(device)
        self.device, self.chance, self.steps = device, chance, steps
        self.inner = inner or [1] * len(steps)
        self.settling_s = settling_s
        self.turn = 1 if len(steps) == 1 else CALLS_IN_A_TURN
        self.series: list[list[tuple[float, ...]]] = [[] for _ in steps]
        self.batches: list[int] = []

    def fresh(self) -> Session:
        """The same steps without the series."""
        other = Session(self.steps, self.device, self.chance, self.inner, self.settling_s)
        other.turn = self.turn
        return other

    def call(self) -> None:
        """Call every step, untimed."""
        for step in self.steps:
            step()

    def calibrate(self) -> tuple[float, float]:
        """Choose how many calls make a sample of each step, and a turn; seconds of a sample of each, and of a round."""
        self.call()
        once = [min(self.clock(step, 1)[0] for _ in range(3)) for step in self.steps]
        self.inner = [max(1, math.ceil(SHORTEST_SAMPLE_MS / max(ms, 1e-4))) for ms in once]
        if max(once) > LONGEST_IN_TURNS_MS:
            self.turn = 1
        lead = self.turn > 1
        sample_s = sum(calls * ms for calls, ms in zip(self.inner, once, strict=True)) / 1000
        return sample_s, self.turn * sample_s + lead * sum(once) / 1000 + len(self.steps) * self.settling_s

    def renew(self, makers: Sequence[Maker]) -> None:
        """Go on with other copies of the steps, each called once before it is timed.

        They are made in random order: freed memory is handed out again in the order in which it is asked for, and the
        same step would lie at the same place in every batch.
        """
        for index in self.chance.sample(range(len(makers)), len(makers)):
            self.steps[index] = makers[index]()
        self.call()

    def round(self, batch: int, calls: int | None = None) -> None:
        """Give every step its turn, in random order: `calls` samples, as many as make a turn unless given."""
        calls = calls or self.turn
        for index in self.chance.sample(range(len(self.steps)), len(self.steps)):
            self._lead(self.steps[index])
            for _ in range(calls):
                self.series[index].append(self.clock(self.steps[index], self.inner[index]))
        self.batches += [batch] * calls

    def _lead(self, step: Step) -> None:
        """Untimed calls at the beginning of a turn: one, or as many as it takes for the other's threads to rest."""
        if self.turn > 1 or self.settling_s:
            settled = time.monotonic() + self.settling_s
            step()
            while time.monotonic() < settled:
                step()

    def headlines(self) -> list[list[float]]:
        """The headline series of every step."""
        return [[values[0] for values in series] for series in self.series]

    def width_percent(self) -> float:
        """The widest of the 95% intervals, of the median and of the ratio, in percent of its middle."""
        point, *baseline = self.headlines()
        interval = median_interval(point)
        widths = [100 * (interval.high - interval.low) / statistics.median(point)]
        if baseline:
            widths.append(ratio_interval(point, baseline[0], self.batches).width_percent)
        return max(widths)

    def result(self, facts: dict[str, float], verdicts: dict[str, bool], before: contention.Usage) -> Timed:
        """The series with their names, and the evidence."""
        found = contention.evidence(before, contention.Usage.now()) | gpu_evidence(self.device)
        samples: dict[str, list[float]] = {"batch": [float(batch) for batch in self.batches]}
        for index, series in enumerate(self.series):
            prefix = BASELINE if index else ""
            for name, values in zip(self.names, zip(*series, strict=True), strict=True):
                samples[prefix + name] = list(values)
        floor = {"timer_floor_ms": timer_floor_ms(self.clock, self.inner[0]), "inner_calls": float(self.inner[0])}
        verdict = {"contended": contention.contended(found), **verdicts}
        if len(self.batches) >= FEWEST_FOR_DRIFT:
            verdict["steady"] = not any(drifts(series) for series in self.headlines())
        return Timed(samples, {**facts, **floor, **found}, verdict)
