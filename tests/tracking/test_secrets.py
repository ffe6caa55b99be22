"""Secrets in a tracker's address: what is shown, what is kept, what is written."""

from __future__ import annotations

import logging
import os
import string
import sys
import urllib.parse
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import CommandLine
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from segbench.tracking import scrub, secrets
from segbench.tracking.address import redact, redact_text, secrets_of, without_user
from segbench.tracking.secrets import AddressError, hide_arguments, real_address, settle, without_secrets
from segbench.tracking.tracker import MlflowTracker, TrackerError

VARIABLE = secrets.VARIABLE
QUICK = ("timing=fixed_20_100", "timing.warmup_calls=2", "timing.timed_calls=10", "device.threads=1", "resolution=8")


@pytest.fixture(autouse=True)
def unknown(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has met no secret and has no address in its environment."""
    monkeypatch.setattr(scrub, "_known", set())
    for target, name in ((warnings, "formatwarning"), (sys, "excepthook")):
        monkeypatch.setattr(target, name, getattr(target, name))
    for name in (VARIABLE, *secrets.CREDENTIALS):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)


@pytest.mark.parametrize(
    ("address", "shown", "secret"),
    [
        ("http://user:pw@host:5000", "http://user:***@host:5000", "pw"),
        ("https://t0k3n@host/path", "https://***@host/path", "t0k3n"),
        ("http://t0k3n:@host", "http://***@host", "t0k3n"),
        ("postgresql://user:p%40w@host:5432/db", "postgresql://user:***@host:5432/db", "p@w"),
        ("postgresql://user:p@s/s?w@host/db", "postgresql://user:***@host/db", "p@s/s?w"),
        ("postgresql+psycopg://:pw@host/db", "postgresql+psycopg://:***@host/db", "pw"),
        ("postgresql://host/db?user=u&password=p;w#1&x=1", "postgresql://host/db?user=u&password=***&x=1", "p;w#1"),
        ("https://host/?api_key=abc&AccessToken=def", "https://host/?api_key=***&AccessToken=***", "def"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dpw", "mssql+pyodbc:///?odbc_connect=***", "PWD=pw"),
        ("http://user:1234@host", "http://user:***@host", "1234"),
        ("http://user:pa/ss@host", "http://user:***@host", "pa/ss"),
    ],
)
def test_what_is_secret_is_hidden(address: str, shown: str, secret: str) -> None:
    assert redact(address) == shown
    assert secret in secrets_of(address)
    assert redact_text(f"cannot open {address} today") == f"cannot open {shown} today"


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:///mlflow.db",
        "sqlite:////data/u:x@y/mlflow.db",
        "http://127.0.0.1:5000",
        "http://127.0.0.1:5000/a@b",
        "http://[::1]:5000/a@b",
        "https://host/path?experiment=1@2",
        "postgresql://user@host/db",
        "databricks://profile",
        "mlruns",
        "",
    ],
)
def test_what_is_not_secret_stays(address: str) -> None:
    assert redact(address) == address
    assert not secrets_of(address)


def test_links_have_no_user() -> None:
    assert without_user("http://user:pw@host:5000/x") == "http://host:5000/x"
    assert without_user("http://token@host") == "http://host"
    assert without_user("http://host:5000") == "http://host:5000"


TEXT = st.text(string.ascii_letters + string.digits + string.punctuation + " äß", min_size=5, max_size=20)


@given(password=TEXT, scheme=st.sampled_from(["http", "https", "postgresql", "mysql+pymysql"]))
def test_no_password_is_ever_shown(password: str, scheme: str) -> None:
    """Percent-encoded as it should be; by databases' addresses also as it is, as long as it has no `@`."""
    written = {urllib.parse.quote(password, safe="")} | ({password.replace("@", "")} if "http" not in scheme else set())
    for form in written:
        address = f"{scheme}://user:{form}@host:5000/db"
        shown = redact(address)
        assert shown == f"{scheme}://user:***@host:5000/db" == redact(shown)
        assert {form, urllib.parse.unquote(form)} <= secrets_of(address)
        (argument,) = hide_arguments([f"tracker.uri='{address}'" if "'" not in address else f"tracker.uri={address}"])
        assert argument == f"tracker.uri={shown}"
        assert OverridesParser.create().parse_override(argument).value() == shown


@given(token=TEXT, name=st.sampled_from(["password", "sslpassword", "token", "API-KEY", "client_secret"]))
def test_no_parameter_is_ever_shown(token: str, name: str) -> None:
    address = f"postgresql://host/db?connect_timeout=3&{name}={urllib.parse.quote_plus(token)}"
    assert redact(address) == f"postgresql://host/db?connect_timeout=3&{name}=***"
    (argument,) = hide_arguments([f"tracker.uri='{address}'"])
    assert OverridesParser.create().parse_override(argument).value() == redact(address)
    assert os.environ[VARIABLE] == address


def test_the_environment_has_the_whole_address() -> None:
    address = "postgresql://user:secret@host/db"
    assert (
        hide_arguments(["-m", "block=dw", f"tracker.uri={address}"])[2] == "tracker.uri=postgresql://user:***@host/db"
    )
    assert real_address("postgresql://user:***@host/db") == real_address(None) == address
    assert real_address("sqlite:///mlflow.db") == "sqlite:///mlflow.db"
    assert settle(None) == "postgresql://user:***@host/db"
    with pytest.raises(AddressError, match=VARIABLE):
        real_address("postgresql://user:***@elsewhere/db")


def test_references_are_resolved_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "http://user:secret@host")
    monkeypatch.setenv("PW", "secret")
    for typed in ("${oc.env:PLACE}", "http://user:${oc.env:PW}@host"):
        assert hide_arguments([f"tracker.uri={typed}"]) == ["tracker.uri=http://user:***@host"]
    assert hide_arguments(["tracker.uri=http://u:${oc.env:PW}@${name}"]) == [
        "tracker.uri=http://u:${oc.env:PW}@${name}"
    ]


@pytest.mark.parametrize(
    "argument",
    [
        "tracker.uri=http://u:secret@a,http://u:secret@b",
        "tracker.uri=http://u:secret@${name}",
        "tracker={uri:'http://u:secret@a'}",
        "+tracker.other=http://u:secret@a",
        "hydra.job.env_set.MLFLOW_TRACKING_URI=http://u:secret@a",
        "hydra.job.env_set.MLFLOW_TRACKING_PASSWORD=secret",
    ],
)
def test_secrets_elsewhere_are_refused(argument: str) -> None:
    with pytest.raises(AddressError, match=VARIABLE + "|environment") as raised:
        hide_arguments([argument])
    assert "secret@" not in str(raised.value) and "=secret" not in str(raised.value)


def test_other_arguments_stay() -> None:
    others = [
        "-m",
        "block=dw",
        "tracker=none",
        "tracker.uri=http://h:5000",
        "model.kwargs={url:'http://u:p@h'}",
        "quick",
    ]
    assert hide_arguments(others) == others


def test_logs_warnings_and_tracebacks_are_scrubbed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "other-secret")
    hide_arguments(["tracker.uri=http://user:s3cr%21t@host"])
    handler = logging.FileHandler(tmp_path / "log")
    logger = logging.getLogger("somebody.elses")
    logger.addHandler(handler)
    try:
        raise ValueError("s3cr!t is wrong, other-secret too")
    except ValueError as error:
        logger.exception("with %s and %s", "s3cr%21t", "dXNlcjpzM2NyIXQ=")
        sys.excepthook(*sys.exc_info())
        print(warnings.formatwarning(f"{error}", UserWarning, "file", 1, ""))
    logger.removeHandler(handler)
    handler.close()
    written = (tmp_path / "log").read_text() + "".join(capsys.readouterr())
    assert written.count("*** is wrong, *** too") == 5 and "with *** and ***" in written
    assert not any(secret in written for secret in ("s3cr!t", "s3cr%21t", "other-secret", "dXNlcjpzM2NyIXQ="))


def test_a_short_secret_leaves_words_alone() -> None:
    scrub.remember("http://user:at@host")
    assert scrub.scrub("the latency at 'at' is at: host") == "the latency *** '***' is ***: host"
    assert scrub.scrub("what was measured") == "what was measured"


def test_errors_of_the_tracker_hold_no_secret() -> None:
    tracker = MlflowTracker("http://user:s3cr/t@127.0.0.1:1", "segbench", timeout_s=60)
    with pytest.raises(TrackerError) as raised:
        tracker.prepare()
    assert "s3cr/t" not in str(raised.value) and "user:***@127.0.0.1" in str(raised.value)


def test_a_record_never_holds_the_address_whole() -> None:
    config = {"block": "dw", "tracker": {"uri": "http://user:secret@host"}}
    assert without_secrets(config) == {"block": "dw", "tracker": {"uri": "http://user:***@host"}}
    for other in ({"tracker": {"parent_run": None}}, {"tracker": {"uri": None}}, {}):
        assert without_secrets(other) == other


def written_below(folder: Path) -> str:
    return "".join(path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("multirun", [False, True])
def test_addresses_from_files_and_references_are_hidden_too(
    segbench_in: CommandLine, tmp_path: Path, multirun: bool
) -> None:
    """A configuration folder of the user's, which names an address with a password, and a reference to one."""
    (tmp_path / "mine" / "tracker").mkdir(parents=True)
    (tmp_path / "mine" / "tracker" / "ours.yaml").write_text(
        "defaults: [mlflow, _self_]\nuri: 'sqlite:///${oc.env:STORE}.db?token=s3cr!t-token'\n"
    )
    sweep = ("-m", "channels=8,16") if multirun else ()
    done = segbench_in("--config-dir=mine", *sweep, *QUICK, "tracker=ours", STORE="store", HYDRA_FULL_ERROR="1")
    assert done.returncode == 0, done.stderr
    assert "segbench: warning" not in done.stderr and (tmp_path / "store.db").exists()
    text = written_below(tmp_path / "outputs")
    assert "token=***" in text and "s3cr!t-token" not in text + done.stdout + done.stderr
    assert b"s3cr!t-token" not in (tmp_path / "store.db").read_bytes()
    for file in tmp_path.glob("outputs/*/*/*/record.json"):
        assert not any("tracker.uri" in override for override in yaml.safe_load(file.read_text())["overrides"])


def test_a_server_without_an_address_is_refused(segbench_in: CommandLine) -> None:
    for sweep in ((), ("-m", "channels=8,16")):
        done = segbench_in(*sweep, "tracker=mlflow_server", MLFLOW_TRACKING_URI="")
        assert done.returncode == 2
        assert done.stderr.strip() == (
            "segbench: the tracker has no address: set MLFLOW_TRACKING_URI, or tracker.uri=http://HOST:PORT"
        )


def test_the_embedded_store_ignores_the_environments_address(segbench_in: CommandLine, tmp_path: Path) -> None:
    done = segbench_in(*QUICK, MLFLOW_TRACKING_URI="http://user:s3cr!t@127.0.0.1:1")
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr
    assert (tmp_path / "mlflow.db").exists()


def test_a_limit_that_is_none_is_refused(segbench_in: CommandLine) -> None:
    done = segbench_in(*QUICK, "tracker.timeout_s=0")
    assert done.returncode == 2 and "tracker.timeout_s=0 is not allowed" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
