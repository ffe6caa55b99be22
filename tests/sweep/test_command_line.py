"""The command line as a user meets it: real processes, a real SQLite store."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, CommandLine
from golden import tables

QUICK = ("timing=fixed_20_100", "timing.warmup_calls=2", "timing.timed_calls=10", "device.threads=1")
METRICS = (
    "parameters/train",
    "parameters/deploy",
    "macs/thop",
    "flops/torch",
    "latency_ms/median",
    "latency_ms/ci95_low",
    "latency_ms/ci95_high",
    "latency_ms/mean",
    "latency_ms/std",
    "latency_ms/p95",
    "latency_ms/n",
    "throughput_img_s",
    "memory_bytes/parameters",
    "memory_bytes/saved",
    "memory_bytes/peak_activation",
    "error/vs_reference",
    "error/train_vs_deploy",
)


def records(folder: Path) -> list[dict]:
    found = sorted(folder.glob("outputs/**/record.json"), key=lambda path: (path.stat().st_mtime_ns, str(path)))
    return [json.loads(path.read_text()) for path in found]


def test_nine_points_in_files_on_the_console_and_in_mlflow(segbench_in: CommandLine, tmp_path: Path) -> None:
    done = segbench_in("-m", "block=dw,stm,faststm", "channels=24,64,192", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert max(map(len, done.stdout.split("Records:")[0].splitlines())) <= 100

    found = records(tmp_path)
    assert [record["status"] for record in found] == ["ok"] * 9
    for record in found:
        assert set(METRICS) <= record["metrics"].keys()
        assert len(record["samples"]["latency_ms"]) == 10
        assert not any("parent_run" in override for override in record["overrides"])
        assert {"torch", "mlflow"} <= record["environment"]["packages"].keys()
        assert record["environment"]["threads"] == 1
        assert record["parameters"]["prcm.num_basis"] == 8
        names = {"dw": "DWBlock", "stm": "STMBlock", "faststm": "FastSTMBlock"}
        row = next(
            r for r in tables()["block_ablation"]["equal_channels"] if r["ch"] == record["parameters"]["channels"]
        )
        published = row[names[record["parameters"]["block"]]]
        assert record["metrics"]["parameters/train"] == published["train"]
        assert record["metrics"]["parameters/deploy"] == published["deploy"]

    sweep = next((tmp_path / "outputs" / "adhoc").iterdir())
    table = pd.read_csv(sweep / "comparison.csv")
    assert list(table["latency_ms/median"]) == [record["metrics"]["latency_ms/median"] for record in found]
    assert (sweep / "0" / ".hydra" / "overrides.yaml").is_file()

    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("segbench").experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    (parent,) = [run for run in runs if run not in children]
    assert len(children) == 9
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {(run.data.params["block"], run.data.params["channels"]) for run in children} == {
        (block, str(channels)) for block in ("dw", "stm", "faststm") for channels in (24, 64, 192)
    }
    assert set(METRICS) <= children[0].data.metrics.keys()
    assert {file.path for file in client.list_artifacts(children[0].info.run_id)} == {"record.json", "config.yaml"}
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["comparison.csv"]
    assert parent.data.metrics["points/ok"] == 9
    assert "| faststm | 192 |" in parent.data.tags["mlflow.note.content"]
    assert all(run.info.run_id in done.stdout for run in children), "the compare link names every child"


def test_in_a_sweep_the_other_points_go_on(segbench_here: CommandLine, tmp_path: Path) -> None:
    done = segbench_here("-m", "block=stm", "channels=0,24,25", *QUICK)
    assert done.returncode == 0, done.stderr
    assert [record["status"] for record in records(tmp_path)] == ["unsupported", "ok", "unsupported"]
    assert "channels=25 is not allowed: it must be even" in done.stdout
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["block=stm", "channels=25"], ["channels=25", "even"]),
        (["device=cuda"], ["device=cuda", "sees cpu"]),
        (["form=neither"], ["form=neither", "deploy, train"]),
        (["channels=0"], ["channels=0 is not allowed", "1 or more"]),
        (["resolution=-3"], ["resolution=-3", "1 or more"]),
        (["prcm.num_basis=-1"], ["prcm.num_basis=-1", "1 or more"]),
        (["block.kernel_size=4"], ["block.kernel_size=4", "odd"]),
        (["seed=abc"], ["seed=abc", "integer"]),
        (["timing.timed_calls=1"], ["timing.timed_calls=1", "6 or more"]),
        (["precision.dtype=foo"], ["precision.dtype=foo", "bfloat16"]),
    ],
    ids=str,
)
def test_a_single_point_that_cannot_be_served_exits_2(
    segbench_here: CommandLine, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    done = segbench_here(*QUICK, *arguments)
    if "device=cuda" in arguments and done.returncode == 0:
        pytest.skip("this machine has a CUDA device")
    assert done.returncode == 2
    assert all(word in done.stdout for word in words), done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert [record["status"] for record in records(tmp_path)] == ["unsupported"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["block=nope"], ["block=nope", "dw, faststm"]),
        (["-m", "block=dw,nope"], ["block=nope", "dw, faststm"]),
        (["prcm.num_bases=3"], ["prcm.num_bases", "did you mean num_basis"]),
        (["chanels=3"], ["chanels", "did you mean channels"]),
        (["channels=1,2"], ["channels=1,2", "--multirun"]),
        (["-m", "prcm=scale,none", "prcm.num_basis=2,4"], ["prcm.num_basis", "Identity"]),
    ],
    ids=str,
)
def test_what_hydra_refuses_is_one_sentence(
    segbench_here: CommandLine, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    done = segbench_here(*arguments)
    assert done.returncode == 2
    assert all(word in done.stderr for word in words), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("outputs/*")), "nothing is left of what was refused"


def test_a_traceback_is_shown_where_it_is_wanted(segbench_in: CommandLine) -> None:
    traced = segbench_in("chanels=3", "tracker=none", HYDRA_FULL_ERROR="1")
    assert traced.returncode not in (0, 2) and "Traceback" in traced.stderr


def test_an_output_folder_that_cannot_be_written(segbench_here: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file, where the folder should be")
    for arguments in ([], ["-m", "channels=8,16"]):
        done = segbench_here(*arguments, *QUICK)
        assert done.returncode == 2
        assert "outputs" in done.stderr and "choose a folder that can be written" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_corrupt_store_costs_a_warning_not_the_measurement(segbench_in: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    for arguments, count in (([], 1), (["-m", "channels=8,16"], 3)):
        done = segbench_in(*arguments, *QUICK)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("warning") == 1
        assert "mlflow.db cannot be used (file is not a database)" in done.stderr and "tracker=none" in done.stderr
        assert len(records(tmp_path)) == count


def test_a_study_sweeps_without_m_and_the_command_line_wins(segbench_here: CommandLine, tmp_path: Path) -> None:
    done = segbench_here("study=block_ablation/channels", "block=dw", *QUICK)
    assert done.returncode == 0, done.stderr
    found = records(tmp_path)
    assert [record["parameters"]["channels"] for record in found] == [24, 48, 64, 96, 128, 192]
    assert {record["parameters"]["block"] for record in found} == {"dw"}
    assert (tmp_path / "outputs" / "block_ablation" / "channels").is_dir()


def test_help_imports_nothing_heavy() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['segbench', '--help']\n"
        "from segbench.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'mlflow', 'pandas', 'scipy', 'timm', 'thop') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "== Choices (group=option) ==" in done.stdout
    assert done.stdout.strip().endswith("[]")


def test_the_store_is_one_that_sqlite_opens(segbench_in: CommandLine, tmp_path: Path) -> None:
    done = segbench_in(*QUICK)
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        assert connection.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone() == (1,)


@pytest.mark.slow
def test_a_paired_baseline(segbench_in: CommandLine, tmp_path: Path) -> None:
    done = segbench_in(
        "-m", "block=dw,cmunext", "baseline={block:dw}", "timing=quick", "device.threads=1", "channels=32"
    )
    assert done.returncode == 0, done.stderr
    same, other = records(tmp_path)
    assert other["metrics"]["ratio_to_baseline/median"] > 1.5 and other["verdicts"]["distinguishable"]
    assert 0.8 < same["metrics"]["ratio_to_baseline/median"] < 1.25
    for record in (same, other):
        low, high = (record["metrics"][f"ratio_to_baseline/ci95_{end}"] for end in ("low", "high"))
        assert low <= record["metrics"]["ratio_to_baseline/median"] <= high
        assert len(record["samples"]["baseline_latency_ms"]) == len(record["samples"]["latency_ms"])
        assert {"steady", "contended", "converged", "warmed_up"} <= record["verdicts"].keys()
    assert "ratio to baseline" in done.stdout
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        (count,) = connection.execute("SELECT count(*) FROM tags WHERE key = 'segbench.distinguishable'").fetchone()
    assert count == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["baseline={block:nope}"], ["baseline={'block': 'nope'} cannot be built", "block is one of"]),
        (["block=dw", "channels=25", "baseline={block:stm}"], ["baseline={'block': 'stm'}", "channels=25", "even"]),
        (["baseline=dw"], ["baseline=dw", "{block:dw}"]),
        (["timing.target_percent=0"], ["timing.target_percent=0", "above 0"]),
        (["timing.budget_s=1e-6"], ["timing.budget_s=1e-06 is too short for one sample"]),
        (["timing.fewest_batches=2"], ["timing.fewest_batches=2", "6 or more"]),
        (["device.affinity=[977]"], ["device.affinity=[977]", "choose among the processors"]),
        (["device.memory_format=columns"], ["device.memory_format=columns", "channels_last"]),
        (["input.shape=[3,16,16]"], ["does not take an input of 1 x 3 x 16 x 16"]),
    ],
    ids=str,
)
def test_timing_that_cannot_be_served(segbench_here: CommandLine, arguments: list[str], words: list[str]) -> None:
    done = segbench_here(*arguments)
    assert done.returncode == 2
    assert all(word in done.stdout for word in words), done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_an_axis_that_changes_nothing_is_answered(segbench_here: CommandLine, tmp_path: Path) -> None:
    small = ("model.widths=[4,4,4,4,4,4]", "resolution=32", *QUICK)
    done = segbench_here("-m", "model=jeongwonnet", "channels=24,48", *small)
    assert done.returncode == 0, done.stderr
    assert [record["status"] for record in records(tmp_path)] == ["ok", "unsupported"]
    assert "channels=48 changes nothing here" in done.stdout
    single = segbench_here("model=jeongwonnet", "channels=24", *small)
    assert "channels=24 changes nothing here: model=jeongwonnet does not use it" in single.stderr


def test_families_are_swept_together(segbench_here: CommandLine, tmp_path: Path) -> None:
    arguments = ("model.num_classes=2", "resolution=32", *QUICK)
    done = segbench_here("-m", "model=encoder", "family=lcnet,mobilenetv2", *arguments)
    assert done.returncode == 0, done.stderr
    found = [(record["parameters"]["model.encoder"], record["parameters"]["family"]) for record in records(tmp_path)]
    assert found == [("lcnet_100", "lcnet"), ("lcnet_150", "lcnet"), ("mobilenetv2_100", "mobilenetv2")]
    refused = segbench_here("family=lcnet")
    assert refused.returncode == 2 and "it needs model=encoder or model=segmenter" in refused.stderr


def test_what_a_sweep_cannot_sweep(segbench_here: CommandLine) -> None:
    done = segbench_here("-m", "name=a,b", *QUICK)
    assert done.returncode == 2
    assert "name cannot be swept" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_point_whose_record_cannot_be_written(segbench_in: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "sweep" / "1" / "record.json").mkdir(parents=True)
    (tmp_path / "sweep" / "superseded").touch()  # where what is in the way would be moved to
    done = segbench_in("-m", "channels=8,16,24", *QUICK, "hydra.sweep.dir=sweep")
    assert done.returncode == 1
    assert "sweep/superseded" in done.stderr and "Traceback" not in done.stderr
    assert list(pd.read_csv(tmp_path / "sweep" / "comparison.csv")["channels"]) == [8, 24]
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        assert connection.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone() == (0,)


def test_a_comparison_that_cannot_be_written(segbench_here: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "sweep" / "comparison.csv").mkdir(parents=True)
    done = segbench_here("-m", "channels=8,16", *QUICK, "hydra.sweep.dir=sweep")
    assert done.returncode == 1
    assert "comparison.csv" in done.stderr and "params" in done.stdout


@pytest.mark.slow
def test_a_store_that_refuses_runs(segbench_in: CommandLine, tmp_path: Path) -> None:
    assert segbench_in(*QUICK).returncode == 0
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON runs BEGIN SELECT RAISE(FAIL, 'the disk is full'); END")
    done = segbench_in("-m", "channels=8,16", *QUICK)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning") == 1 and "the disk is full" in done.stderr
    assert len(records(tmp_path)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("points", [0, 2])
def test_an_interrupted_sweep_keeps_what_it_has(tmp_path: Path, points: int) -> None:
    """SIGINT before the first point and after the second."""
    command = [sys.executable, str(ROOT / "run.py"), "-m", "block=dw", "seed=range(0,500)", *QUICK]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while points and len(list(tmp_path.glob("outputs/*/*/*/record.json"))) < points and time.monotonic() < deadline:
        time.sleep(0.1)
    if not points:
        time.sleep(3)
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    if points:
        (sweep,) = (tmp_path / "outputs" / "adhoc").iterdir()
        table = pd.read_csv(sweep / "comparison.csv")
        kept = sum(table["status"] == "ok")
        assert f"interrupted: {kept} of 500 points are measured and kept" in err
        assert len(list(sweep.glob("*/record.json"))) == len(table) <= kept + 1
        assert kept >= points
        with sqlite3.connect(tmp_path / "mlflow.db") as connection:
            assert connection.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone() == (0,)
