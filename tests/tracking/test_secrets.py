"""Passwords in the tracker's address: refused where they would be recorded, and never shown."""

import os
import string
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from conftest import CommandLine
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st

from segbench import __main__ as command_line
from segbench.tracking.address import (
    PASSWORD,
    SECRETS,
    USERNAME,
    VARIABLE,
    AddressError,
    address_of,
    refuse_secret,
    refuse_secrets,
    shown,
    without_user,
)
from segbench.tracking.tracker import MlflowTracker, TrackerError


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose environment names no tracker; what the code sets there goes again."""
    for name in (*SECRETS, USERNAME):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


WITH_PASSWORD = [
    "http://user:s3cret@host:5000",
    "http://user:1234s3cret@host",
    "http://user:pa/s3cret@host",
    "https://s3cret@host/path",
    "HTTP://s3cret:@host",
    "postgresql://user:s3cret%40@host:5432/db",
    "postgresql://user:p@s/s3cret?w@host/db",
    "postgresql+psycopg://:s3cret@host/db",
    "postgresql://user:s3cret@host:port/db",
    "postgresql://host/db?user=u&password=s3cret;w#1&x=1",
    "postgresql://host/db?sslpassword=s3cret",
    "mysql+pymysql://user:s3cret@host/db",
    "https://host/?api_key=s3cret&AccessToken=other",
    "mssql+pyodbc:///?odbc_connect=PWD%3Ds3cret",
    "sqlite:///store.db?token=s3cret",
]
WITHOUT_PASSWORD = [
    "sqlite:///mlflow.db",
    "sqlite:////data/u:x@y/mlflow.db",
    "http://127.0.0.1:5000",
    "http://[::1]:5000/path",
    "https://host/path?experiment=1",
    "postgresql://user@host/db",
    "postgresql://user@host/db?passfile=/home/user/.pgpass&sslkey=/home/user/key",
    "databricks://profile",
    "mlruns",
]
TEXT = st.text(string.ascii_letters + string.digits + string.punctuation + " äß", min_size=5, max_size=20)


@pytest.mark.parametrize("address", WITH_PASSWORD)
def test_a_password_is_refused(address: str) -> None:
    written = [f"tracker.uri={address}", f"tracker.uri='{address}'", f"++tracker.uri={address}"]
    written += [f"tracker={{uri:'{address}'}}", f"+tracker.other={address}", f"tracker.uri=http://a,{address}"]
    for argument in written:
        with pytest.raises(AddressError, match=VARIABLE) as refusal:
            refuse_secrets(["-m", "block=dw", argument])
        assert "s3cret" not in str(refusal.value)
    with pytest.raises(AddressError, match=VARIABLE) as refusal:
        MlflowTracker(address, "segbench", timeout_s=30)
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize("address", WITHOUT_PASSWORD)
def test_an_address_without_password_is_used(address: str) -> None:
    refuse_secrets([f"tracker.uri={address}"])
    assert address_of(address) == address == without_user(address)


@given(password=TEXT, scheme=st.sampled_from(["http", "https", "postgresql", "mysql+pymysql"]))
def test_every_password_is_refused_and_hidden(password: str, scheme: str) -> None:
    encoded = urllib.parse.quote(password, safe="")
    for written in (encoded, password):
        for argument in (f"tracker.uri={scheme}://user:{written}@host/db", f"tracker.uri='{scheme}://:{written}@h'"):
            with pytest.raises(AddressError):
                refuse_secrets([argument])
    assert shown(f"{scheme}://user:{encoded}@host:5000/db") == f"{scheme}://user:***@host:5000/db"


@given(token=TEXT, name=st.sampled_from(["password", "sslpassword", "token", "API-KEY", "client_secret"]))
def test_every_secret_parameter_is_refused_and_hidden(token: str, name: str) -> None:
    address = f"postgresql://host/db?connect_timeout=3&{name}={urllib.parse.quote_plus(token)}"
    with pytest.raises(AddressError):
        refuse_secret(address)
    assert shown(address) == "postgresql://host/db"


def test_the_sentence_says_where_a_password_belongs() -> None:
    with pytest.raises(
        AddressError, match="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_"
    ):
        refuse_secrets(["tracker.uri=http://user:s3cret@host"])
    with pytest.raises(
        AddressError, match=r"PGPASSWORD, write it into ~/\.pgpass, or put the whole address into MLFLOW"
    ):
        refuse_secrets(["tracker.uri=postgresql://user:s3cret@host/db"])


@pytest.mark.parametrize(
    "argument",
    [
        "hydra.job.env_set.MLFLOW_TRACKING_URI=http://u:s3cret@a",
        "hydra.job.env_set.MLFLOW_TRACKING_PASSWORD=s3cret",
        "+hydra.job.env_set={MLFLOW_TRACKING_TOKEN:s3cret}",
        "hydra.job.env_set.PGPASSWORD=s3cret",
    ],
)
def test_variables_of_the_environment_are_not_set_by_a_configuration(argument: str) -> None:
    with pytest.raises(AddressError, match="in the environment") as refusal:
        refuse_secrets([argument])
    assert "s3cret" not in str(refusal.value)


def test_other_arguments_pass() -> None:
    kept = "hydra.job.env_set.MLFLOW_TRACKING_URI=${oc.env:PLACE}"
    refuse_secrets(["-m", "tracker=none", "model.kwargs={url:'http://u:p@h'}", "quick", kept])
    refuse_secrets(["tracker.uri=postgresql://me@${oc.env:HOST}:${oc.env:PORT}/db", "tracker.uri=${oc.env:PLACE}"])


def test_references_are_checked_once_they_are_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "http://user:s3cret@host")
    node = {"_target_": "segbench.tracking.tracker.MlflowTracker", "uri": "${oc.env:PLACE}", "experiment": "segbench"}
    with pytest.raises(InstantiationException) as refusal:
        instantiate({**node, "timeout_s": 30})
    assert isinstance(refusal.value.__cause__, AddressError) and "s3cret" not in str(refusal.value)


def test_the_environments_address_may_have_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a server moves to where MLflow neither prints it nor puts it into links."""
    for address in ("postgresql://user:s3cret@host/db", "sqlite:////data/a@b.db"):
        monkeypatch.setenv(VARIABLE, address)
        assert without_user(address_of(None)) == address
        assert address_of("sqlite:///mlflow.db") == "sqlite:///mlflow.db"
    monkeypatch.setenv(VARIABLE, "https://me:s3cret%2F@host:5000/path")
    assert without_user(address_of(None)) == "https://host:5000/path"
    assert (os.environ[USERNAME], os.environ[PASSWORD]) == ("me", "s3cret/")


@pytest.mark.parametrize("address", ["", "http://u:pa/s3cret@h", "http://u:p@s3cret@h", "postgresql://u:p@s3cret@h/d"])
def test_an_address_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv(VARIABLE, address)
    with pytest.raises(AddressError, match=VARIABLE) as refusal:
        MlflowTracker(None, "segbench", timeout_s=30)
    assert "s3cret" not in str(refusal.value)


def test_a_point_without_an_address_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process may run on another machine, with another environment, and has measured already."""
    with pytest.raises(TrackerError, match="the tracker has no address"):
        MlflowTracker(None, "segbench", timeout_s=30, parent_run="some").prepare()


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_warnings_hold_no_password(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv(VARIABLE, f"{scheme}://user:s3cr%2Ft@127.0.0.1:1/x")
    for name in ("MAX_RETRIES", "BACKOFF_FACTOR"):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", "0")
    with pytest.raises(TrackerError) as raised:
        MlflowTracker(None, "segbench", timeout_s=5).prepare()
    assert "s3cr" not in str(raised.value) and f"{scheme}://" in str(raised.value) and "127.0.0.1" in str(raised.value)


@pytest.mark.parametrize("arguments", [["block=dw"], ["-m", "block=dw,stm"], ["study=all"], ["--help"]])
def test_the_command_line_refuses_before_it_writes(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(command_line, "stop_in_order", lambda: None)
    monkeypatch.setattr(sys, "argv", ["segbench", *arguments, "tracker.uri=http://user:s3cret@host"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    said = capsys.readouterr()
    assert ended.value.code == 2 and not said.out and not list(tmp_path.iterdir())
    assert said.err.startswith("segbench: tracker.uri holds a password") and said.err.count("\n") == 1


@pytest.mark.parametrize("sweep", [(), ("-m", "channels=8,16")])
def test_a_configuration_file_is_refused_and_nothing_is_kept(
    segbench_in: CommandLine, tmp_path: Path, sweep: tuple[str, ...]
) -> None:
    (tmp_path / "mine" / "tracker").mkdir(parents=True)
    (tmp_path / "mine" / "tracker" / "ours.yaml").write_text("defaults: [mlflow, _self_]\nuri: ${oc.env:PLACE}\n")
    done = segbench_in("--config-dir=mine", *sweep, "tracker=ours", PLACE="http://user:s3cret@host")
    assert done.returncode == 2 and "s3cret" not in done.stdout + done.stderr
    assert done.stderr.startswith("segbench: tracker.uri holds a password") and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["ours.yaml"]


def test_a_server_without_an_address_is_refused(segbench_in: CommandLine, tmp_path: Path) -> None:
    done = segbench_in("-m", "channels=8,16", "tracker=mlflow_server", MLFLOW_TRACKING_URI="")
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert done.stderr.strip() == (
        "segbench: the tracker has no address: set MLFLOW_TRACKING_URI, or tracker.uri=http://HOST:PORT"
    )


@pytest.mark.parametrize("timeout_s", [0, -1, "soon", True])
def test_a_time_limit_that_is_none_is_refused(timeout_s: object) -> None:
    with pytest.raises(ValueError, match=f"tracker.timeout_s={timeout_s} is not allowed"):
        MlflowTracker("sqlite:///mlflow.db", "segbench", timeout_s)  # type: ignore[arg-type]


def test_looking_for_passwords_imports_nothing_heavy() -> None:
    code = "import sys; from segbench.tracking.address import refuse_secrets; refuse_secrets(['--help', 'block=dw']); "
    subprocess.run(
        [sys.executable, "-c", code + "assert not {'sqlalchemy', 'mlflow', 'torch'} & set(sys.modules)"], check=True
    )
