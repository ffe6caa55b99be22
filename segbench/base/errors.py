"""Errors that carry what is wrong as data; the sentence is made from it where it is shown."""

from typing import Any, Self


class NotAllowedError(ValueError):
    """A value that breaks a rule: which `name` was given which `value`, and the `rule` with what is allowed."""

    def __init__(self, name: str, value: Any, rule: str) -> None:
        super().__init__(name, value, rule)
        self.name, self.value, self.rule = name, value, rule

    def __str__(self) -> str:
        return f"{self.name}={self.value} is not allowed: {self.rule}"

    def renamed(self, name: str) -> Self:
        """The same error under another name: modules name their arguments, users type keys."""
        return type(self)(name, self.value, self.rule)


class OddError(NotAllowedError):
    """An odd number of channels where an even one is needed."""


class UnsupportedError(ValueError):
    """A request that is understood but cannot be served here; the message says why and what can."""
