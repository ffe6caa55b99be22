"""Tables as people read them."""

import io

import pytest
from rich.console import Console

from segbench.point.record import Record
from segbench.report.comparison import swept_keys
from segbench.report.console import markdown, print_comparison
from segbench.report.rounding import count, interval, significant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234.56, "1,235"),
        (0.0123456, "0.01235"),
        (12.3456, "12.35"),
        (1e-7, "1.000e-07"),
        (2e12, "2.000e+12"),
    ],
)
def test_significant_digits(value: float, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.39056, 0.3871, 0.4301), "0.391 [0.387, 0.430]"),
        ((7.667, 7.06, 7.99), "7.67 [7.06, 7.99]"),
        ((1234.5, 1200, 1270), "1,234 [1,200, 1,270]"),
        ((0.5, 0.5, 0.5), "0.500000 [0.500000, 0.500000]"),
    ],
)
def test_intervals_decide_the_decimals(values: tuple[float, float, float], text: str) -> None:
    assert interval(*values) == text


def test_counts_are_grouped() -> None:
    assert count(43584.0) == "43,584"


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


def test_a_key_typed_twice_counts_once() -> None:
    twice = Record("ok", None, ["seed=1", "seed=2"], {"seed": 2}, {}, {}, {})
    assert swept_keys([twice]) == []


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


def test_markdown_has_a_row_for_every_point() -> None:
    lines = markdown(RECORDS).splitlines()
    assert len(lines) == 2 + len(RECORDS)
    assert all(line.count("|") == lines[0].count("|") for line in lines)
