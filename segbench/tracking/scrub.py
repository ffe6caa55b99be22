"""What this process logs, warns of and shows as tracebacks, without the secrets that it has met."""

from __future__ import annotations

import logging
import re
import sys
import traceback
import warnings
from typing import Any

from segbench.tracking.address import HIDDEN, redact_text, secrets_of

UNMISTAKABLE = 4
"""A secret of fewer characters is only replaced where it stands alone: it may be part of any word."""

_known: set[str] = set()


def remember(*given: str) -> None:
    """Scrub the secrets of these addresses, and what is no address itself, from now on."""
    found = {secret for text in given for secret in (secrets_of(text) if "://" in text else {text})}
    if found - _known:
        _known.update(found)
        _guard()


def scrub(text: str) -> str:
    """The text without known secrets, and without those of any address in it."""
    for secret in sorted(_known, key=len, reverse=True):
        if len(secret) >= UNMISTAKABLE:
            text = text.replace(secret, HIDDEN)
        elif secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return redact_text(text)


class ScrubbedRecord(logging.LogRecord):
    """A log record, whoever writes it and wherever it goes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info:
            self.exc_text = scrub(logging.Formatter().formatException(self.exc_info))

    def getMessage(self) -> str:  # noqa: N802  # logging's name
        """The message, scrubbed."""
        return scrub(super().getMessage())


def _guard() -> None:
    """Scrub log records, warnings and the traceback that may end the process."""
    if logging.getLogRecordFactory() is ScrubbedRecord:
        return
    logging.setLogRecordFactory(ScrubbedRecord)
    formatted = warnings.formatwarning

    def formatwarning(*args: Any, **kwargs: Any) -> str:
        return scrub(formatted(*args, **kwargs))

    def excepthook(*error: Any) -> None:
        print(scrub("".join(traceback.format_exception(*error))), end="", file=sys.stderr)

    warnings.formatwarning, sys.excepthook = formatwarning, excepthook
