"""How the points were measured, in the sentences that a paper needs."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from segbench.point.record import Record
from segbench.report.points import machine_of

ADAPTIVE = "AdaptiveProtocol"
RATIOS = (
    "A point and its baseline were timed in turns in random order; the ratio is the trimmed mean over batches, each on "
    "fresh copies, of the quotient of the undisturbed latencies (10th percentiles), with Student's t interval."
)
VERDICTS = {
    ("converged", False): "did not reach the target width",
    ("steady", False): "were not steady",
    ("contended", True): "were measured while others used the processor",
}
"""What is said of points with such a verdict."""


def protocol(records: Sequence[Record]) -> str:
    """The measurement paragraph of these records: machine, software, how timed, how checked, how it ended."""
    ok = [record for record in records if record.status == "ok"]
    if not ok:
        return "No point was measured."
    sentences = [
        f"Measured on {_listed([_machine(record) for record in ok])}, {_dates(ok)}.",
        f"Software: {_listed([_software(record.environment) for record in ok])}.",
        f"Settings: {_listed([_settings(record.config) for record in ok])}.",
        f"Each point was timed {_listed([_timing(record.config) for record in ok])}{_samples(ok)}.",
        "Latencies are medians; intervals are 95%, and allow for the correlation of neighbouring samples.",
        RATIOS if any("ratio_to_baseline/median" in record.metrics for record in ok) else "",
        _checked(ok),
        _verdicts(ok),
        _ended(records),
    ]
    return " ".join(filter(None, sentences))


def _machine(record: Record) -> str:
    threads = record.environment.get("threads")
    plural = "" if threads == 1 else "s"
    return f"{machine_of(record)}, {threads} thread{plural}, {record.environment.get('os')}"


def _dates(ok: Sequence[Record]) -> str:
    days = sorted({record.started[:10] for record in ok})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _software(found: dict[str, Any]) -> str:
    commit = f", commit {str(found['commit'])[:12]}" if found.get("commit") else ""
    changed = " with uncommitted changes" if found.get("uncommitted_changes") else ""
    torch = found.get("packages", {}).get("torch")
    return f"segbench {found.get('segbench')}{commit}{changed}, PyTorch {torch}, Python {found.get('python')}"


def _settings(config: dict[str, Any]) -> str:
    precision = config.get("precision") or {}
    numbers = f"{precision.get('dtype')} ({precision.get('fp32_precision')})"
    if precision.get("autocast"):
        numbers = f"autocast to {precision['autocast']}"
    execution = _class_name(config.get("execution"))
    training = (config.get("phase") or {}).get("step") == "train_step"
    form = "training step" if training else f"{config.get('form')} form in evaluation mode"
    return f"{numbers}, {execution}, {form}, batch size {config.get('batch_size')}"


def _timing(config: dict[str, Any]) -> str:
    timing = config.get("timing") or {}
    if _class_name(timing) == ADAPTIVE:
        how = (
            f"until the 95% interval was narrower than {timing['target_percent']:g}% of its middle or "
            f"{timing['budget_s']:g} s were spent, after a warm-up that ended when latencies no longer drifted"
        )
    else:
        how = f"by {timing.get('timed_calls')} calls after {timing.get('warmup_calls')} thrown away"
    isolated = config.get("isolation") == "process"
    return how + (f", in {config.get('processes')} fresh process(es)" if isolated else "")


def _class_name(node: dict[str, Any] | None) -> str:
    """The name of the class that a node of the configuration is made by, wherever that class lies."""
    return str((node or {}).get("_target_", "")).rpartition(".")[2]


def _samples(ok: Sequence[Record]) -> str:
    counts = [int(record.metrics["latency_ms/n"]) for record in ok if "latency_ms/n" in record.metrics]
    return f" ({min(counts):,} to {max(counts):,} samples a point)" if counts else ""


def _checked(ok: Sequence[Record]) -> str:
    errors = [record.metrics["error/vs_reference"] for record in ok if "error/vs_reference" in record.metrics]
    if not errors:
        return ""
    return (
        "Before it was timed, each point's output was compared with eager float32 on the same weights and input; the "
        f"largest error was {max(errors):.1e} of the largest value."
    )


def _verdicts(ok: Sequence[Record]) -> str:
    found = []
    for (verdict, bad), said in VERDICTS.items():
        judged = [record.verdicts[verdict] for record in ok if verdict in record.verdicts]
        if judged:
            found.append(f"{judged.count(bad)} of {len(judged)} points {said}")
    return f"{', '.join(found)}." if found else ""


def _ended(records: Sequence[Record]) -> str:
    ended = Counter(record.status for record in records if record.status != "ok")
    listed = ", ".join(f"{number} {status}" for status, number in ended.items())
    return f"Not measured: {listed}." if ended else ""


def _listed(texts: Sequence[str]) -> str:
    """Each text once, with how many points share it where they differ."""
    counted = Counter(texts)
    if len(counted) == 1:
        return texts[0]
    return "; ".join(f"{text} ({number} points)" for text, number in counted.items())
