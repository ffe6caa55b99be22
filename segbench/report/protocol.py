"""How the points were measured, in the sentences that a paper needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from segbench.point.record import Record
from segbench.report.points import machine_of

ADAPTIVE = "AdaptiveProtocol"


def protocol(records: Sequence[Record]) -> str:
    """The measurement paragraph of these records: machine, software, how timed, how checked, how it ended."""
    ok = [record for record in records if record.status == "ok"]
    if not ok:
        return "No point was measured."
    parts = [_machines(ok), _software(ok), _timed(ok), _ratio(ok), _checked(ok), _quality(ok), _ended(records, ok)]
    return " ".join(part for part in parts if part)


def _machines(ok: Sequence[Record]) -> str:
    machines = [f"{machine_of(record)}, {_threads(record)}, {record.environment.get('os')}" for record in ok]
    return f"Measured on {_listed(machines)}, {_dates(ok)}."


def _threads(record: Record) -> str:
    threads = record.environment.get("threads")
    return f"{threads} thread{'' if threads == 1 else 's'}"


def _dates(ok: Sequence[Record]) -> str:
    days = sorted({record.started[:10] for record in ok})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _software(ok: Sequence[Record]) -> str:
    software = []
    for record in ok:
        found = record.environment
        commit = f", commit {str(found['commit'])[:12]}" if found.get("commit") else ""
        changed = " with uncommitted changes" if found.get("uncommitted_changes") else ""
        packages = found.get("packages", {})
        software.append(
            f"segbench {found.get('segbench')}{commit}{changed}, PyTorch {packages.get('torch')}, "
            f"Python {found.get('python')}"
        )
    settings = [
        f"{_precision(record.config)}, {_execution(record.config)}, {_form(record.config)}, "
        f"batch size {record.config.get('batch_size')}"
        for record in ok
    ]
    return f"Software: {_listed(software)}. Settings: {_listed(settings)}."


def _precision(config: dict[str, Any]) -> str:
    precision = config.get("precision", {})
    name = precision.get("autocast") or precision.get("dtype")
    return f"autocast to {name}" if precision.get("autocast") else f"{name} ({precision.get('fp32_precision')})"


def _execution(config: dict[str, Any]) -> str:
    return str(config.get("execution", {}).get("_target_", "")).rpartition(".")[2]


def _form(config: dict[str, Any]) -> str:
    if config.get("phase", {}).get("step") == "train_step":
        return "training step"
    return f"{config.get('form')} form in evaluation mode"


def _timed(ok: Sequence[Record]) -> str:
    how = []
    for record in ok:
        timing = record.config.get("timing", {})
        if str(timing.get("_target_", "")).endswith(ADAPTIVE):
            how.append(
                f"until the 95% interval was narrower than {timing['target_percent']:g}% of its middle or "
                f"{timing['budget_s']:g} s were spent, after a warm-up that ended when latencies no longer drifted"
            )
        else:
            how.append(f"by {timing.get('timed_calls')} calls after {timing.get('warmup_calls')} thrown away")
        if record.config.get("isolation") == "process":
            how[-1] += f", in {record.config.get('processes')} fresh process(es)"
    samples = [int(record.metrics["latency_ms/n"]) for record in ok if "latency_ms/n" in record.metrics]
    n = f" ({min(samples):,} to {max(samples):,} samples a point)" if samples else ""
    return (
        f"Each point was timed {_listed(how)}{n}. Latencies are medians; intervals are 95%, "
        "and allow for the correlation of neighbouring samples."
    )


def _ratio(ok: Sequence[Record]) -> str:
    if not any("ratio_to_baseline/median" in record.metrics for record in ok):
        return ""
    return (
        "A point and its baseline were timed in turns in random order; the ratio is the trimmed mean over batches, "
        "each on fresh copies, of the quotient of the undisturbed latencies (10th percentiles), with Student's t "
        "interval."
    )


def _checked(ok: Sequence[Record]) -> str:
    errors = [record.metrics["error/vs_reference"] for record in ok if "error/vs_reference" in record.metrics]
    if not errors:
        return ""
    return (
        "Before it was timed, each point's output was compared with eager float32 on the same weights and input; the "
        f"largest error was {max(errors):.1e} of the largest value."
    )


def _quality(ok: Sequence[Record]) -> str:
    found = []
    for verdict, bad, said in (
        ("converged", False, "did not reach the target width"),
        ("steady", False, "were not steady"),
        ("contended", True, "were measured while others used the processor"),
    ):
        judged = [record.verdicts[verdict] for record in ok if verdict in record.verdicts]
        if judged:
            found.append(f"{judged.count(bad)} of {len(judged)} points {said}")
    return f"{', '.join(found)}." if found else ""


def _ended(records: Sequence[Record], ok: Sequence[Record]) -> str:
    if len(ok) == len(records):
        return ""
    ended = Counter(record.status for record in records if record.status != "ok")
    return "Not measured: " + ", ".join(f"{number} {status}" for status, number in ended.items()) + "."


def _listed(texts: Sequence[str]) -> str:
    """Each text once, with how many points share it where they differ."""
    counted = Counter(texts)
    if len(counted) == 1:
        return texts[0]
    return "; ".join(f"{text} ({number} points)" for text, number in counted.items())
