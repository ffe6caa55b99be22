"""The table that ends a run, on the console and in a tracker's description."""

import io

from known_points import record as timed
from rich.console import Console

from segbench.point.record import Record
from segbench.report.console import markdown, print_comparison


def record(block: str, channels: int, latency: float, **changes: str) -> Record:
    metrics = {
        "parameters/deploy": channels * 66,
        "macs/thop": channels * 2e5,
        "flops/torch": channels * 4e5,
        "memory_bytes/peak_activation": channels * 32768,
        "latency_ms/median": latency,
        "latency_ms/ci95_low": latency * 0.99,
        "latency_ms/ci95_high": latency * 1.01,
        "throughput_img_s": 1000 / latency,
    }
    overrides = [f"block={block}", f"channels={channels}"]
    ok = not changes
    parameters = {"block": block, "channels": channels}
    return Record(
        changes.get("status", "ok"), changes.get("reason"), overrides, parameters, {}, {}, metrics if ok else {}
    )


RECORDS = [
    record("inverted_bottleneck_res", 192, 123.4),
    record("dw", 24, 0.2),
    record("stm", 25, 1, status="unsupported", reason="channels=25 is not allowed: it must be even"),
]


def printed(records: list[Record]) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_comparison(records, console)
    return console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO


def test_the_console_table_fits_and_marks_the_best() -> None:
    text = printed(RECORDS)
    assert max(map(len, text.splitlines())) <= 100
    assert "inverted_bottleneck_res" in text and "…" not in text
    best = next(line for line in text.splitlines() if line.strip().startswith("dw"))
    assert best.count("*") == 5, "all but the FLOPs, which do not fit beside so long a name"
    assert "no room here for flops/torch: see comparison.csv" in text
    assert "latency (ms)" in text and "[95% interval]" in text
    assert "block=stm channels=25: unsupported: channels=25 is not allowed: it must be even" in text
    assert "\x1b" not in text


def test_disturbed_timings_and_ratios_near_one_are_marked_and_explained() -> None:
    disturbed = {"steady": False, "contended": False}
    text = printed([timed(1.0, 1.0, block="dw"), timed(2.0, 2.0, block="stm", verdicts=disturbed)])
    dw, stm = (next(line for line in text.splitlines() if line.strip().startswith(name)) for name in ("dw", "stm"))
    assert "1.000 [0.990, 1.010] =*" in dw and "!" not in dw
    assert stm.count("]  !") + stm.count("] !") == 2
    assert "* best of its column; = not distinguishable from the baseline; ! contended or unsteady" in text


def test_one_point_alone_is_not_the_best() -> None:
    assert "*" not in printed([timed(1.0, block="dw")])


def test_the_axes_that_the_sweep_wrote_down_lead_the_table() -> None:
    console = Console(file=io.StringIO(), width=100)
    found = [timed(1.0, block=block, channels=channels) for block, channels in (("dw", 8), ("stm", 16))]
    print_comparison(found, console, ["channels"])
    text = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert "channels" in text and "block" not in text


def test_markdown_has_a_row_for_every_point() -> None:
    lines = markdown(RECORDS).splitlines()
    assert len(lines) == 2 + len(RECORDS)
    assert all(line.count("|") == lines[0].count("|") for line in lines)
