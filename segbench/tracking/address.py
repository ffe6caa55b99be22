"""Addresses of trackers: which parts of them are secret, and how they look without these."""

from __future__ import annotations

import base64
import re
import urllib.parse
from typing import NamedTuple

HIDDEN = "***"
"""Stands where a secret was."""
ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://\S+")
NAMES = "pass|pwd|token|secret|key|credential|auth|sig|odbc"
PARAMETER = re.compile(rf"([?&;#][^=&;?#]*(?:{NAMES})[^=&;?#]*=)([^&]+)", re.IGNORECASE)
"""`?password=…` and the like, up to the next `&`: a secret may hold every other character."""
PORT = re.compile(r"\d*[/?#]")


class UserInfo(NamedTuple):
    """What stands before the host: a name, a password where there is one, and all of it as it was written."""

    name: str
    password: str | None
    written: str


def redact(address: str) -> str:
    """The address without passwords and tokens; itself where it has none."""
    return _parted(address)[0]


def secrets_of(address: str) -> set[str]:
    """The secrets of an address, in the spellings in which they may turn up elsewhere."""
    found = {secret for secret in _parted(address)[1] if secret != HIDDEN}
    plain = {urllib.parse.unquote(secret) for secret in found} | {urllib.parse.unquote_plus(secret) for secret in found}
    quoted = {urllib.parse.quote(secret, safe=safe) for secret in plain for safe in ("", "/", " +")}
    spelled = {form for secret in plain for form in (repr(secret)[1:-1], secret.replace('"', '\\"'))}
    return found | plain | quoted | spelled | {_basic(secret) for secret in found if ":" in secret}


def redact_text(text: str) -> str:
    """A text whose addresses have no passwords and tokens."""
    return ADDRESS.sub(lambda match: redact(match[0]), text)


def without_user(address: str) -> str:
    """The address without what stands before its host: what a browser opens."""
    scheme, separator, rest = redact(address).partition("://")
    info = _user_info(scheme, rest)
    return scheme + separator + (rest[len(info.written) + 1 :] if info else rest)


def _parted(address: str) -> tuple[str, list[str]]:
    """The redacted address and its secrets as written; of a name and a password also both together, with the colon."""
    scheme, separator, rest = address.partition("://")
    secrets: list[str] = []
    head = ""
    if separator and (info := _user_info(scheme, rest)):
        rest = rest[len(info.written) :]
        if info.password:
            secrets += [info.password, info.written]
            head = f"{info.name}:{HIDDEN}"
        elif _is_web(scheme):  # the name alone may be a token
            secrets += [info.name]
            head = HIDDEN
        else:
            head = info.written
    secrets += [match[2] for match in PARAMETER.finditer(rest)]
    return scheme + separator + head + PARAMETER.sub(rf"\g<1>{HIDDEN}", rest), secrets


def _user_info(scheme: str, rest: str) -> UserInfo | None:
    """What stands before the host. A password may hold `/`, `?` and `@`: databases take them as they are."""
    before_query = re.split(r"[?#]", rest, maxsplit=1)[0]
    in_query = re.match(r"[^?#]*[?#][^=]*=", rest) and "@" in before_query  # and no part of a password
    part = before_query if in_query or "@" not in rest.removeprefix(before_query) else rest
    written, at, _ = part.rpartition("@")
    name, colon, password = written.partition(":")
    if not at or not name + password or scheme.startswith("sqlite") or re.search(r"[/?#\[]", name):
        return None
    if colon and _is_web(scheme) and PORT.match(password):
        return None  # host:port, and the @ is further on
    return UserInfo(name, password if colon else None, written)


def _is_web(scheme: str) -> bool:
    return scheme.lower() in ("http", "https")


def _basic(user_info: str) -> str:
    """How a name and a password travel in HTTP's header."""
    return base64.b64encode(urllib.parse.unquote(user_info).encode()).decode()
