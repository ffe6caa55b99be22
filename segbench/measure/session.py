"""Steps that are timed side by side: calls in turns and rounds, and the series so far."""

import copy
import math
import random
import time
from collections.abc import Callable, Sequence

import torch

from segbench.measure import contention
from segbench.measure.clock import Clock, Step, clock_for, timer_floor_ms
from segbench.measure.gpu import gpu_evidence
from segbench.measure.result import BASELINE, Metrics, Result, Samples
from segbench.measure.statistics import FEWEST_FOR_DRIFT, drifts, median_interval, ratio_interval

SHORTEST_SAMPLE_MS = 0.1
"""A step shorter than this is called several times for one sample, so that a sample is long against the clock."""
CALLS_IN_A_TURN = 4
LONGEST_IN_TURNS_MS = 20.0
"""Longer steps alternate call by call: refilling the caches costs little against them."""
Maker = Callable[[], Step]
"""Makes a step on copies of its own."""


class Session:
    """Steps that are timed side by side, and their series so far."""

    def __init__(self, steps: list[Step], device: torch.device, chance: random.Random, settling_s: float = 0) -> None:
        self.clock: Clock
        self.clock, self.names = clock_for(device)
        self.device, self.chance, self.steps = device, chance, steps
        self.settling_s = settling_s
        self.inner = [1] * len(steps)
        self.turn = 1 if len(steps) == 1 else CALLS_IN_A_TURN
        self.series: list[list[tuple[float, ...]]] = [[] for _ in steps]
        self.batches: list[int] = []

    def fresh(self) -> "Session":
        """The same steps without the series."""
        other = copy.copy(self)
        other.series, other.batches = [[] for _ in self.steps], []
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
        intervals = [median_interval(point), *(ratio_interval(point, other, self.batches) for other in baseline)]
        return max(interval.width_percent for interval in intervals)

    def result(self, facts: Metrics, verdicts: dict[str, bool], before: contention.Usage) -> Result:
        """The series with their names, and as metrics `timing/...` the facts of this measurement and the evidence."""
        found = contention.evidence(before, contention.Usage.now()) | gpu_evidence(self.device)
        samples: Samples = {"batch": [float(batch) for batch in self.batches]}
        for index, series in enumerate(self.series):
            prefix = BASELINE if index else ""
            for name, values in zip(self.names, zip(*series, strict=True), strict=True):
                samples[prefix + name] = list(values)
        floor = {"timer_floor_ms": timer_floor_ms(self.clock, self.inner[0]), "inner_calls": float(self.inner[0])}
        verdict = {"contended": contention.contended(found), **verdicts}
        if len(self.batches) >= FEWEST_FOR_DRIFT:
            verdict["steady"] = not any(drifts(series) for series in self.headlines())
        return Result(
            {f"timing/{name}": value for name, value in {**facts, **floor, **found}.items()}, samples, verdict
        )
