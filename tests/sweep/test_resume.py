"""What makes a record stand for a point, and what is left of a sweep."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbench.base.interrupts import held_back
from segbench.base.processes import is_alive, is_gone, this_process
from segbench.config.compose import Sources, composed, plain
from segbench.point import environment
from segbench.point.entry import understand
from segbench.point.identity import PARTS, code_version, differences, digest, identity, recipe
from segbench.point.neighbours import Neighbours
from segbench.point.record import STATUSES, Record, load, save
from segbench.sweep import folder as sweep_folder
from segbench.sweep.resume import KeepRule, Plan, checked_retry

HERE = environment.describe()
BASIC = KeepRule(["killed"], None, "basic")
SOURCES = Sources()


def record_of(overrides: list[str], status: str = "ok") -> Record:
    request = understand(composed(overrides), overrides, {}, SOURCES)
    reason = None if status == "ok" else "a reason"
    return Record(status, reason, overrides, {}, request.config, HERE, identity=request.identity)


def saved(folder: Path, *records: Record) -> Path:
    for number, record in enumerate(records):
        (folder / str(number)).mkdir(parents=True)
        save(record, folder / str(number))
    return folder


def resolved(*overrides: str) -> dict:
    return plain(composed(list(overrides)), resolve=True)


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("channels=8", "config"),
        ("block=stm", "config"),
        ("seed=1", "config"),
        ("timing=quick", "config"),
        ("device.threads=1", "config"),
        ("baseline={block:stm}", "config"),
        ("form_tolerance=0.01", "config"),
        ("isolation=process", "config"),
        ("point_timeout_s=9", "config"),
        ("model=custom model.target=doubles.Net", "code"),
    ],
)
def test_what_is_measured_changes_the_identity(override: str, part: str) -> None:
    before, after = (identity(resolved(*words), HERE) for words in ([], override.split()))
    assert PARTS[part] in differences(before, after)


@pytest.mark.parametrize("override", ["name=other", "tracker=none", "tracker.uri=sqlite:///x.db", "neighbours=mark"])
def test_where_results_go_does_not(override: str) -> None:
    assert identity(resolved(), HERE) == identity(resolved(override), HERE)


@pytest.mark.parametrize("fact", ["host", "os", "cpu", "cores_usable", "accelerator"])
def test_another_machine_is_another_measurement(fact: str) -> None:
    there = identity(resolved(), {**HERE, fact: {"name": "another"}})
    assert differences(identity(resolved(), HERE), there) == ["machine"]


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=6))
def test_a_digest_does_not_depend_on_the_order(values: dict) -> None:
    assert digest(values) == digest(dict(reversed(values.items())))


def test_code_of_the_users_own_modules_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("a = 1")
    code_version.cache_clear()
    before = code_version(("mine.Net",))
    (tmp_path / "mine.py").write_text("a = 2")
    code_version.cache_clear()
    assert code_version(("mine.Net",)) != before
    before = code_version(("mine.Net",))
    (tmp_path / "helper.py").write_text("b = 1")
    code_version.cache_clear()
    assert code_version(("mine.Net",)) != before, "it may import what lies beside it"
    assert code_version(("../../evil.Net", "/etc/evil.Net", "")) == code_version(("",))


def test_a_recipe_is_only_given_where_it_is_sure() -> None:
    assert recipe(["block=dw"], SOURCES) == recipe(["block=dw", "tracker=none", "resume=true"], SOURCES)
    assert recipe(["block=dw"], SOURCES) != recipe(["block=stm"], SOURCES)
    assert recipe(["block=dw"], SOURCES) != recipe(["block=dw"], Sources(name="other"))
    assert recipe(["block=dw"], SOURCES) != recipe(["block=dw", "point_timeout_s=9"], SOURCES), "in its own process"
    assert recipe(["block=dw"], Sources(known=False)) is None
    assert recipe(["channels=${oc.env:X}"], SOURCES) is None


def test_a_recipe_reads_the_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        (folder / "x.yaml").write_text("a: 1")
    assert recipe(["block=dw"], Sources((str(first),))) is not None
    (second / "y.yaml").write_text("b: ${oc.env:X}")
    assert recipe(["block=dw"], Sources((str(second),))) is None


@pytest.mark.parametrize("status", STATUSES)
def test_finished_records_are_kept_and_killed_points_measured_again(tmp_path: Path, status: str) -> None:
    folder = saved(tmp_path, record_of(["block=dw", "channels=8"], status), record_of(["block=dw", "channels=16"]))
    batch = [["block=dw", f"channels={channels}"] for channels in (8, 16, 24)]
    left = Plan(folder, BASIC, SOURCES, HERE).to_measure(batch)
    again = [[*batch[0], "hydra.sweep.subdir='0'"]] if status == "killed" else []
    assert left == [*again, [*batch[2], "hydra.sweep.subdir='2'"]]


def test_new_points_never_share_a_folder(tmp_path: Path) -> None:
    folder = saved(tmp_path, *(record_of([f"channels={channels}"]) for channels in (8, 16)))
    left = Plan(folder, BASIC, SOURCES, HERE).to_measure([[f"channels={channels}"] for channels in (4, 12, 8, 16, 20)])
    assert [point[-1] for point in left] == [f"hydra.sweep.subdir='{number}'" for number in (2, 3, 4)]
    assert [point[0] for point in left] == ["channels=4", "channels=12", "channels=20"]


def test_retry_and_timeouts(tmp_path: Path) -> None:
    folder = saved(tmp_path, record_of(["channels=8"], "failed"), record_of(["channels=16"], "timeout"))
    batch = [["channels=8"], ["channels=16"]]

    def left(rule: KeepRule) -> list[str]:
        return [point[0] for point in Plan(folder, rule, SOURCES, HERE).to_measure(batch)]

    assert left(BASIC) == []
    assert left(KeepRule(["failed"], None, "basic")) == ["channels=8"]
    assert left(KeepRule([], 60.0, "basic")) == ["channels=16"], "more time is another question"
    with pytest.raises(ValueError, match="retry=nope is not allowed"):
        checked_retry(["nope"])
    with pytest.raises(ValueError, match="must be a list"):
        checked_retry(3)


def test_another_machine_counts_unless_the_launcher_chooses_machines(tmp_path: Path) -> None:
    elsewhere = identity(resolved("channels=8"), {**HERE, "host": "elsewhere"})
    found = replace(record_of(["channels=8"]), environment={**HERE, "launcher": "ray"})
    found = replace(found, identity={**found.identity, **elsewhere})
    folder = saved(tmp_path, found)
    assert Plan(folder, BASIC, SOURCES, HERE).to_measure([["channels=8"]])
    assert not Plan(folder, KeepRule([], None, "ray"), SOURCES, HERE).to_measure([["channels=8"]])
    assert Plan(folder, KeepRule([], None, "submitit_slurm"), SOURCES, HERE).to_measure([["channels=8"]])
    kept, why = BASIC.kept_record(folder / "0", understand(composed(["channels=8"]), [], {}).identity)
    assert kept is None
    assert why == ("records of another machine do not stand: they are kept in superseded/",)


def test_a_record_cut_short_is_measured_again_and_not_lost(tmp_path: Path) -> None:
    folder = saved(tmp_path, record_of(["channels=8"]))
    whole = (folder / "0" / "record.json").read_text()
    for length in range(0, len(whole), len(whole) // 20 + 1):
        (folder / "0" / "record.json").write_text(whole[:length])
        with pytest.raises(ValueError, match="not a whole record"):
            load(folder / "0" / "record.json")
        assert Plan(folder, BASIC, SOURCES, HERE).to_measure([["channels=8"]])
    sweep_folder.supersede(folder / "0")
    assert (folder / "superseded" / "0-1" / "record.json").exists()
    save(record_of(["channels=8"]), folder / "0")
    sweep_folder.supersede(folder / "0")
    assert (folder / "superseded" / "0-2" / "record.json").read_text() == whole


def test_points_without_a_record_are_found(tmp_path: Path) -> None:
    found = record_of(["channels=8"])
    known = {"overrides": found.overrides, "parameters": {}, "config": found.config, "identity": found.identity}
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        sweep_folder.note_begin(
            tmp_path / str(number), {**known, "environment": HERE, "started": "2026-01-01T00:00:00"}
        )
    save(found, tmp_path / "0")  # it ended, and was killed before it said so
    (tmp_path / "1" / "begun.json").write_text("{cut")
    running = {**this_process(), "pid": os.getppid(), "created": 0.0}  # a number that somebody else has now
    note = json.loads((tmp_path / "2" / "begun.json").read_text())
    (tmp_path / "2" / "begun.json").write_text(json.dumps({**note, "process": running}))
    (tmp_path / "3" / "begun.json").write_text(json.dumps({**note, "process": {**running, "host": "elsewhere"}}))
    assert sweep_folder.mark_killed(tmp_path) == 2
    assert load(tmp_path / "0" / "record.json").status == "ok"
    assert [load(tmp_path / name / "record.json").status for name in ("1", "2")] == ["killed", "killed"]
    assert load(tmp_path / "2" / "record.json").overrides == ["channels=8"]
    assert not (tmp_path / "3" / "record.json").exists(), "nobody here can tell whether it runs"
    assert sweep_folder.mark_killed(tmp_path, other_machines=True) == 1
    assert sweep_folder.mark_killed(tmp_path, other_machines=True) == 0


def test_a_folder_has_one_master_and_no_links(tmp_path: Path) -> None:
    lock = sweep_folder.claim(tmp_path / "sweep")
    other = (
        "from segbench.sweep import folder as sweep_folder; from pathlib import Path\n"
        "try: sweep_folder.claim(Path('sweep'))\n"
        "except sweep_folder.BusyError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", other], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "in use" in done.stdout
    sweep_folder.give_back(lock)
    assert not (tmp_path / "sweep" / ".lock").exists()
    (tmp_path / "sweep" / "0").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="is a link"):
        sweep_folder.refuse_links(tmp_path / "sweep")


def test_folders_that_were_left_are_found_and_those_with_links_left_alone(tmp_path: Path) -> None:
    known = {"overrides": [], "parameters": {}, "config": {}, "identity": {}, "environment": {}, "started": ""}
    for name in ("a/1/0", "a/2/0", "studies/1/block/dw/0", "b/1"):
        (tmp_path / name).mkdir(parents=True)
        sweep_folder.note_begin(tmp_path / name, known)
        top = tmp_path / name if name == "b/1" else (tmp_path / name).parent
        (top / ".lock").touch()
    (tmp_path / "a" / "2" / "link").symlink_to(tmp_path)
    sweep_folder.tidy(tmp_path)
    found = {
        str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("record.json") if "link" not in path.parts
    }
    assert found == {"a/1/0", "studies/1/block/dw/0", "b/1"}
    assert [path.name for path in sweep_folder.still_locked(tmp_path)] == ["2"]
    sweep_folder.tidy(tmp_path / "nowhere")


def test_a_folder_keeps_its_mark_while_a_point_has_no_end(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    sweep_folder.note_begin(tmp_path / "0", {})
    assert "measures point 0" in str(sweep_folder.still_measured(tmp_path))
    sweep_folder.give_back(sweep_folder.claim(tmp_path))
    assert (tmp_path / ".lock").exists()
    sweep_folder.mark_killed(tmp_path)
    assert sweep_folder.still_measured(tmp_path) is None
    sweep_folder.give_back(sweep_folder.claim(tmp_path))
    assert not (tmp_path / ".lock").exists()


def test_names_of_folders_are_text_to_hydra(tmp_path: Path) -> None:
    found = record_of(["channels=8"], "killed")
    for name in ("${oc.env:HOME}", "channels=8,seed=1"):
        (tmp_path / name).mkdir()
        save(found, tmp_path / name)
    (point,) = Plan(tmp_path, BASIC, SOURCES, HERE).to_measure([["channels=8"]])
    assert point[-1] == "hydra.sweep.subdir='channels=8,seed=1'"


def test_equal_points_keep_their_own_folders(tmp_path: Path) -> None:
    folder = saved(tmp_path, record_of(["channels=8"]), record_of(["channels=8"], "killed"))
    assert Plan(folder, BASIC, SOURCES, HERE).to_measure([["channels=8"]] * 2) == [
        ["channels=8", "hydra.sweep.subdir='1'"]
    ]


@pytest.mark.parametrize("change", [{"metrics": []}, {"overrides": 3}, {"environment": None}, {"started": 5}])
def test_a_record_of_other_types_is_not_one(tmp_path: Path, change: dict) -> None:
    folder = saved(tmp_path, record_of(["channels=8"]))
    path = folder / "0" / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match="not a whole record"):
        load(path)


def test_processes_are_told_apart() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        me = this_process()
        assert is_alive(me) and not is_gone(me)
        assert is_gone({**me, "created": me["created"] - 100})
        assert not is_gone({**me, "host": "elsewhere", "created": 0.0})
        import psutil

        entry = {**me, "pid": child.pid, "created": psutil.Process(child.pid).create_time()}
        assert is_alive(entry)
        child.kill()
        time.sleep(0.5)  # a zombie now: nobody has waited for it
        assert is_gone(entry)
    finally:
        child.kill()
        child.wait()


DESTRUCTOR = """
import os, signal, sys, time
from segbench.base.interrupts import Terminated, stop_in_order
stop_in_order()
class Interrupted:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
        time.sleep(0.01)
try:
    Interrupted()
    time.sleep(30)
    print("lost")
except KeyboardInterrupt as stop:
    print(type(stop).__name__)
"""


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "Terminated")])
def test_a_stop_inside_a_destructor_is_not_lost(number: int, name: str) -> None:
    done = subprocess.run([sys.executable, "-c", DESTRUCTOR, str(int(number))], capture_output=True, text=True)
    assert done.stdout.strip() == name and "Exception ignored" not in done.stderr, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_waits_for_the_end_of_a_block_and_a_second_one_does_not(number: int) -> None:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    done = []
    try:
        with pytest.raises(KeyboardInterrupt), held_back():
            signal.raise_signal(number)
            done.append("written")
        with pytest.raises(KeyboardInterrupt), held_back():
            signal.raise_signal(number)
            signal.raise_signal(number)
            done.append("never")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done == ["written"]


VISITOR = """
import sys, time
from pathlib import Path
from segbench.point.neighbours import Neighbours
with Neighbours(sys.argv[1], sys.argv[2].split(","), Path(".")) as neighbours:
    print("in", flush=True)
    time.sleep(float(sys.argv[3]))
print(neighbours.met, flush=True)
"""


def visitor(folder: Path, mode: str, processors: str, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", VISITOR, mode, processors, str(seconds)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_neighbours_wait_for_each_other(tmp_path: Path) -> None:
    with Neighbours("wait", ["cpu0"], tmp_path) as first:
        other, apart = visitor(tmp_path, "wait", "cpu0,cpu1", 0), visitor(tmp_path, "wait", "cpu1", 0)
        assert apart.communicate(timeout=60)[0].split() == ["in", "0"], "other processors are no concern of ours"
        assert other.stderr and "waiting for process" in other.stderr.readline()
        assert other.poll() is None
    assert other.communicate(timeout=60)[0].split() == ["in", "0"]
    assert first.met == 0


def test_neighbours_are_marked_on_both_sides(tmp_path: Path) -> None:
    with Neighbours("mark", ["cpu0"], tmp_path) as first:
        gone = visitor(tmp_path, "mark", "cpu0", 0)
        assert gone.communicate(timeout=60)[0].split() == ["in", "1"], "it has come and gone"
    assert first.met == 1
    with Neighbours("mark", ["cpu0"], tmp_path) as alone:
        pass
    assert alone.met == 0


def test_a_killed_neighbour_holds_up_nobody(tmp_path: Path) -> None:
    killed = visitor(tmp_path, "wait", "cpu0", 60)
    assert killed.stdout and killed.stdout.readline().strip() == "in"
    killed.kill()
    with Neighbours("wait", ["cpu0"], tmp_path) as later:
        pass
    assert later.met == 0
    killed.communicate()
    (tmp_path / "junk.json").write_text("[1")
    with Neighbours("wait", ["cpu0"], tmp_path):
        pass
    with pytest.raises(ValueError, match="neighbours=off is not allowed"):
        Neighbours("off", ["cpu0"], tmp_path)
