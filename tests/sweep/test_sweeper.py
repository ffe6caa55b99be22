"""A sweep from its opening to its close: what is asked of it, what it shows, and what it finds again."""

import json
from pathlib import Path

import pytest
from conftest import CommandLine

from segbench.base.interrupts import Terminated
from segbench.config.compose import composed, plain
from segbench.point.record import FILE_NAME, load, load_sweep
from segbench.sweep import repetition
from segbench.sweep.folder import read_sweep
from segbench.sweep.repetition import _measurement, repeated

QUICK = ("timing=fixed_20_100", "timing.warmup_calls=0", "timing.timed_calls=6", "device.threads=1", "resolution=8")
UNUSED = ("-m", "model=jeongwonnet", "model.widths=[4,4,4,4,4,4]", "resolution=32", *QUICK[:-1])
"""A network that has no use for `channels`."""


def the_sweep(folder: Path) -> Path:
    (found,) = folder.glob("outputs/adhoc/*")
    return found


def test_the_progress_counts_over_all_batches(segbench_here: CommandLine, tmp_path: Path) -> None:
    done = segbench_here("-m", "channels=4,6,8", "hydra.sweeper.max_batch_size=2", *QUICK)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stderr.splitlines() if " ok " in line] == ["1/3", "2/3", "3/3"]
    assert [name for name, _ in load_sweep(the_sweep(tmp_path))[0]] == ["0", "1", "2"]


def test_the_sweeps_file_names_its_axes_in_order(segbench_here: CommandLine, tmp_path: Path) -> None:
    assert segbench_here("-m", "seed=0", "+mine=1,2", "channels=4,", *QUICK).returncode == 2
    assert segbench_here("-m", "seed=0", "+mine=1,2", "channels=choice(4,8)", *QUICK).returncode == 0
    sweep = read_sweep(the_sweep(tmp_path))
    assert sweep is not None and sweep.axes == ["mine", "channels"]
    (the_sweep(tmp_path) / "sweep.json").write_text('{"id": "of an earlier version", "command": ["block=dw"]}')
    earlier = read_sweep(the_sweep(tmp_path))
    assert earlier is not None and earlier.axes is None


def test_a_failed_point_fails_the_sweep_and_the_others_are_measured(
    segbench_here: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "raises.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x): 1 / 0\n"
    )
    target = "model.target=raises.Net,torch.nn.ReLU"
    done = segbench_here("-m", "model=custom", target, "input.shape=[3,8,8]", *QUICK[:-1])
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert [record.status for _, record in load_sweep(the_sweep(tmp_path))[0]] == ["failed", "ok"]


@pytest.mark.parametrize(
    ("stop", "word", "code"), [(KeyboardInterrupt, "interrupted", 130), (Terminated, "terminated", 143)]
)
def test_a_stopped_sweep_is_closed_and_resumed(
    segbench_here: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: type[KeyboardInterrupt],
    word: str,
    code: int,
) -> None:
    from segbench.sweep import job

    measure = job.measure_point

    def interrupted(request: object, *others: object) -> object:
        if any(each == "channels=6" for each in request.overrides):  # type: ignore[attr-defined]
            raise stop
        return measure(request, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(job, "measure_point", interrupted)
    done = segbench_here("-m", "channels=4,6,8", *QUICK)
    folder = the_sweep(tmp_path)
    assert done.returncode == code
    assert f"{word}: 1 of 3 points are measured and kept; resume={folder.relative_to(tmp_path)}" in done.stderr
    assert [record.status for _, record in load_sweep(folder)[0]] == ["ok", "killed"]
    assert (folder / "comparison.csv").is_file() and not (folder / ".lock").exists()

    monkeypatch.setattr(job, "measure_point", measure)
    done = segbench_here("-m", "channels=4,6,8", *QUICK, "resume=true")
    assert done.returncode == 0 and "1 points keep their records, 2 are measured" in done.stderr
    assert [line.split()[0] for line in done.stderr.splitlines() if " ok " in line] == ["1/2", "2/2"]
    assert {name: record.overrides[0] for name, record in load_sweep(folder)[0]} == {
        str(number): f"channels={channels}" for number, channels in enumerate((4, 6, 8))
    }
    assert load(folder / "superseded" / "1-1" / FILE_NAME).status == "killed"


def test_points_of_an_earlier_run_count_as_the_same_measurement(segbench_here: CommandLine, tmp_path: Path) -> None:
    assert segbench_here(*UNUSED, "channels=24").returncode == 0
    repetition._met.clear()  # as in another process, which has measured nothing
    done = segbench_here(*UNUSED, "channels=24,48", f"resume={the_sweep(tmp_path)}")
    assert done.returncode == 0, done.stderr
    (_, first), (_, second) = load_sweep(the_sweep(tmp_path))[0]
    assert first.status == "ok" and second.status == "unsupported"
    assert str(second.reason).startswith("channels=48 changes nothing here: the point ")
    again = segbench_here(*UNUSED, "channels=24,48", f"resume={the_sweep(tmp_path)}", "retry=[ok,unsupported]")
    assert again.returncode == 0, again.stderr
    assert [record.status for _, record in load_sweep(the_sweep(tmp_path))[0]] == ["ok", "unsupported"]


def test_of_points_that_run_side_by_side_the_first_is_measured(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text('{"id": "x", "command": [], "axes": ["channels"]}')
    points = {name: {"overrides": [f"channels={name}", "seed=1"], "config": {"seed": 1}} for name in ("0", "1", "10")}
    for name, point in points.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "begun.json").write_text(json.dumps({"process": {}, "point": point}))

    def answer(name: str) -> str | None:
        repetition._met.clear()
        return repeated(tmp_path / name, points[name]["overrides"], points[name]["config"])  # type: ignore[arg-type]

    assert answer("0") is None
    assert answer("1") == "channels=1 changes nothing here: the point channels=0 seed=1 is the same measurement"
    assert str(answer("10")).startswith("channels=10 changes nothing here: the point channels=0")
    assert repeated(tmp_path / "1", ["channels=0", "seed=1", "name=x"], {"seed": 1}) is None, "no axis differs"
    assert repeated(tmp_path / "1", ["channels=1"], {"seed": 2}) is None, "another measurement"
    (tmp_path / "sweep.json").unlink()
    assert answer("1") is None, "points by themselves are no sweep"


def test_folders_of_any_name_may_lie_in_a_sweep(segbench_here: CommandLine, tmp_path: Path) -> None:
    assert segbench_here("-m", "channels=4", *QUICK, "hydra.sweep.dir=sweep").returncode == 0
    (tmp_path / "sweep" / "0").rename(tmp_path / "sweep" / "²")
    assert [name for name, _ in load_sweep(tmp_path / "sweep")[0]] == ["²"]
    done = segbench_here("-m", "channels=4,6", *QUICK, "resume=sweep")
    assert done.returncode == 0, done.stderr
    assert [name for name, _ in load_sweep(tmp_path / "sweep")[0]] == ["²", "1"]


def test_another_tolerance_of_the_forms_is_another_measurement() -> None:
    """It is no parameter of a point, but decides whether the point may be timed."""
    strict, loose = (plain(composed([f"form_tolerance={value}"]), resolve=True) for value in (1e-5, 1e-3))
    assert _measurement(strict) != _measurement(loose)
    assert _measurement(strict) == _measurement({**strict, "name": "other"})
