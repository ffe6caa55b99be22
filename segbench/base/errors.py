"""Errors that carry what is wrong as data; the sentence is made from it where it is shown."""

from collections.abc import Mapping
from typing import Any, Self

LONGEST_SENTENCE = 500


class NotAllowedError(ValueError):
    """A value that breaks a rule: which `name` was given which `value`, and the `rule` with what is allowed.

    `beside` is the other setting that forbids the value, where there is one: `phase=train_step`.
    """

    def __init__(self, name: str, value: Any, rule: str, beside: str | None = None) -> None:
        super().__init__(name, value, rule, beside)
        self.name, self.value, self.rule, self.beside = name, value, rule, beside

    def __str__(self) -> str:
        beside = f" with {self.beside}" if self.beside else ""
        return f"{self.name}={self.value} is not allowed{beside}: {self.rule}"

    def renamed(self, name: str) -> Self:
        """The same error under another name: modules name their arguments, users type keys."""
        return type(self)(name, self.value, self.rule, self.beside)


class OddError(NotAllowedError):
    """An odd number of channels where an even one is needed."""


class UnsupportedError(ValueError):
    """A request that is understood but cannot be served here; the message says why and what can."""


class PointError(RuntimeError):
    """A point that ends without a latency; the message is a whole sentence that says why."""


class GateError(PointError):
    """A point whose result must not be timed. `metrics` are the figures that say so, by their names in the record."""

    def __init__(self, message: str, metrics: Mapping[str, float] | None = None) -> None:
        super().__init__(message)
        self.metrics = dict(metrics or {})


class ProcessDiedError(PointError):
    """A process that ended without a result; the message says how."""


class PointTimeoutError(PointError):
    """A process that was ended because it took too long."""


def one_line(error: BaseException) -> str:
    """An error as one sentence; of errors that are not made for readers, the type stands before it."""
    text = " ".join(str(error).split()) or type(error).__name__
    if len(text) > LONGEST_SENTENCE:
        text = text[: LONGEST_SENTENCE - 3] + "..."
    return text if isinstance(error, ValueError | PointError) else f"{type(error).__name__}: {text}"


def first_line(error: BaseException) -> str:
    """The first line of a library's error, or its type where it says nothing: the rest is often a stack or a graph."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
