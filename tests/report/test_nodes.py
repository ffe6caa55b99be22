"""How far the nodes of a cluster agree."""

from dataclasses import replace

from known_points import points, record

from segbench.report.nodes import nodes


def test_the_spread_between_nodes_is_that_of_the_same_steps() -> None:
    base = {"block": "dw"}
    found = [
        record(1.0, 2.0, host="a", baseline=base, block="stm", channels=8, seed=0),
        record(1.1, 2.1, host="b", baseline=base, block="stm", channels=8, seed=1),
        record(3.0, 3.0, host="b", baseline=base, block="faststm", channels=8, seed=0),
        record(9.0, 3.0, host="a", baseline=base, block="faststm", channels=16, seed=0),
    ]
    timed = zip(found, (0.5, 0.6, 0.6, 2.0), strict=True)
    between = nodes(points(*(replace(r, metrics=r.metrics | {"baseline_latency_ms/median": ms}) for r, ms in timed)))
    assert between is not None and between.points == {"a": 2, "b": 2}
    assert [[cell.text for cell in row] for row in between.table.rows] == [
        ["block=stm channels=8", "2", "2", "10.0", "5.0"],
        ["baseline block=dw channels=8", "2", "3", "20.0", ""],
    ]
    assert between.sentence.endswith("differs by up to 20.0%, its ratio to the baseline by up to 5.0%.")
    assert nodes(points(record(1.0, host="a", channels=8), record(1.0, host="a", channels=16))) is None
    alone = nodes(points(record(1.0, host="a", channels=8), record(1.0, host="b", channels=16)))
    assert alone is not None and "No step was timed on more than one node" in alone.sentence
