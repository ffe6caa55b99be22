"""The address of the tracker's store. A configuration is recorded, so an address in it must hold no password.

`MLFLOW_TRACKING_URI` is MLflow's own variable for the address. The environment is not recorded: there it may hold one.
"""

import os
import re
import urllib.parse
from collections.abc import Sequence
from typing import Any

VARIABLE, USERNAME, PASSWORD = "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
SECRETS = (VARIABLE, PASSWORD, "MLFLOW_TRACKING_TOKEN", "PGPASSWORD")
"""Variables that may hold a password: their values come from the environment only."""
PLACES = {
    "http": f"set {USERNAME} and {PASSWORD}, or MLFLOW_TRACKING_TOKEN, or ",
    "postgresql": "set PGPASSWORD, write it into ~/.pgpass, or ",
}
"""Where the password of an address belongs, by how the address begins."""
SECRET_PARAMETER = re.compile(r"passw|passphrase|pwd|token|secret|credential|api.?key|odbc", re.IGNORECASE)
REFERENCE = re.compile(r"\$\{[^}]*\}")


class TrackerError(RuntimeError):
    """The tracker cannot be used; the message names it, says why, and what to do."""


class AddressError(TrackerError, ValueError):
    """The tracker's address cannot be used as it was given."""


def refuse_secrets(arguments: Sequence[str]) -> None:
    """Raise `AddressError` where an argument of the command line sets a password of the tracker."""
    for argument in arguments:
        if any(name in argument for name in SECRETS) and "${oc.env:" not in argument:
            key = argument.partition("=")[0]
            raise AddressError(f"{key} would be recorded: set the variable in the environment that segbench starts in")
        if argument.lstrip("+~").startswith("tracker"):
            typed = REFERENCE.sub("0", argument)
            for scheme in re.finditer(r"[\w+.-]*://", typed):
                refuse_secret(typed[scheme.start() :])


def refuse_secret(address: str) -> None:
    """Raise `AddressError` where an address holds a password, a token or a key."""
    url = _parsed(address)
    # what stands before the @ of a web address may be a token, with or without a name
    password = "@" in address if url is None or _is_web(address) else url.password is not None
    if password or (url and any(SECRET_PARAMETER.search(name) for name in url.query)):
        place = next((place for scheme, place in PLACES.items() if address.lower().startswith(scheme)), "")
        raise AddressError(
            f"tracker.uri holds a password, which would be recorded: {place}put the whole address into {VARIABLE} and "
            "use tracker=mlflow_server"
        )


def address_of(uri: str | None) -> str:
    """The address to send to: the configured one, or the environment's. `AddressError` where it cannot be used."""
    if uri:
        refuse_secret(uri)
        return uri
    address = os.environ.get(VARIABLE, "")
    if not address:
        raise AddressError(f"the tracker has no address: set {VARIABLE}, or tracker.uri=http://HOST:PORT")
    if address.count("@") > 1 or (_is_web(address) and "@" in address.partition("://")[2].partition("/")[2]):
        raise AddressError(f"{VARIABLE} can be read in two ways: write @ in a password or a path as %40, and / as %2F")
    return address


def without_user(address: str) -> str:
    """A web address without name and password, which move to where MLflow does not print them: into its variables."""
    parts = urllib.parse.urlsplit(address)
    if not _is_web(address) or parts.username is None:
        return address
    os.environ[USERNAME], os.environ[PASSWORD] = map(urllib.parse.unquote, (parts.username, parts.password or ""))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def shown(address: str) -> str:
    """The address as messages show it: without its password, and without parameters, which may be one."""
    url = _parsed(address)
    return url.set(query={}).render_as_string(hide_password=True) if url else address.partition("://")[0]


def _parsed(address: str) -> Any:
    """SQLAlchemy's parts of an address; `None` where it has none, such as a folder's name."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(address)
    except (ArgumentError, ValueError):
        return None


def _is_web(address: str) -> bool:
    return address.lower().startswith(("http:", "https:"))
