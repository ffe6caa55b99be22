"""How the points were measured, in the sentences that a paper needs; `protocol.jinja` holds them."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from segbench.point.record import Record
from segbench.report.formats import rendered
from segbench.report.points import machine_of

VERDICTS = (
    ("converged", False, "did not reach the target width"),
    ("steady", False, "were not steady"),
    ("contended", True, "were measured while others used the processor"),
)
"""What is said of points with such a verdict."""


def protocol(records: Sequence[Record]) -> str:
    """The measurement paragraph of these records: machine, software, how timed, how checked, how it ended."""
    ok = [record for record in records if record.status == "ok"]

    def each(written: Callable[[Record], str]) -> str:
        """What is written of each record, once, with how many points share it where they differ."""
        counted = Counter(map(written, ok))
        return "; ".join(f"{text} ({n} points)" if len(counted) > 1 else text for text, n in counted.items())

    def values(metric: str) -> list[float]:
        return [record.metrics[metric] for record in ok if metric in record.metrics]

    verdicts = []
    for verdict, bad, said in VERDICTS:
        judged = [record.verdicts[verdict] for record in ok if verdict in record.verdicts]
        verdicts += [f"{judged.count(bad)} of {len(judged)} points {said}"] if judged else []
    days = sorted({record.started[:10] for record in ok})
    ended = Counter(record.status for record in records if record.status != "ok")
    text = rendered(
        "protocol.jinja",
        ok=ok,
        each=each,
        machine_of=machine_of,
        class_of=_class_of,
        verdicts=verdicts,
        days=dict.fromkeys([*days[:1], *days[-1:]]),
        samples=[int(number) for number in values("latency_ms/n")],
        errors=values("error/vs_reference"),
        ratios=values("ratio_to_baseline/median"),
        ended=[f"{number} {status}" for status, number in ended.items()],
    )
    return " ".join(filter(None, text.split("\n")))


def _class_of(node: dict[str, Any] | None) -> str:
    """The name of the class that a node of the configuration is made by, wherever that class lies."""
    return str((node or {}).get("_target_", "")).rpartition(".")[2]
