"""Published figures stand beside those of the same setting."""

from known_points import points, record

from segbench.report.study import ReportedSpec
from segbench.report.tables import reported


def test_reported_figures_stand_beside_their_own_setting_only() -> None:
    spec = ReportedSpec("se_expansion.csv", "latency", "a notebook")
    setting = {"prcm.expansion": 2, "channels": 64, "resolution": 64}
    same, other = record(1.0, batch_size=1, **setting), record(1.0, batch_size=16, **setting)
    (table,) = reported([spec], points(same, other))
    assert [[row[index].text for index in (0, 4, 5)] for row in table.rows] == [["2", "0.7587", "0.0321"]]
