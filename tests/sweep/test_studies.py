"""Studies: every exact figure that was published is in the report's CSV, and reports say what their points show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import CommandLine
from golden import tables
from omegaconf import OmegaConf

from segbench.config.compose import CONF_DIR, composed
from segbench.report.study import parse
from segbench.sweep.ending import RefusedError
from segbench.sweep.studies import folder_of, several_studies, studies

PUBLISHED = tables()
FAST = [
    "timing=fixed_20_100",
    "timing.warmup_calls=0",
    "timing.timed_calls=6",
    "baseline=null",
    "device.threads=1",
]
"""Nothing is timed for its own sake here: the exact columns are looked at."""
BLOCKS = {"DWBlock": "dw", "STMBlock": "stm", "FastSTMBlock": "faststm"}
VARIANTS = {
    "InvertedBottleneck e2": "inverted_bottleneck_e2",
    "InvertedBottleneck e4": "inverted_bottleneck_e4",
    "InvertedBottleneckRes e2": "inverted_bottleneck_res_e2",
    "PRCM": "prcm",
    "PRCM_SE e2": "prcm_se_e2",
    "PRCM_SE e4": "prcm_se_e4",
    "PRCM_AdaptivePool p2 e2": "prcm_adaptive_pool_p2",
    "PRCM_AdaptivePool p4 e2": "prcm_adaptive_pool_p4",
    "PRCM_AdaptivePool p8 e2": "prcm_adaptive_pool_p8",
    "PRCM_BasisExpand b8 e4": "prcm_basis_expand",
    "PRCM_SE_Affine e4": "prcm_se_affine",
}


@pytest.fixture
def report_of(segbench_here: CommandLine, tmp_path: Path) -> Any:
    """Run a study without caring for its times, and read a table of its report."""

    def run(study: str, *overrides: str) -> Any:
        done = segbench_here(f"study={study}", *FAST, *overrides)
        assert done.returncode == 0, done.stderr
        (folder,) = tmp_path.glob(f"outputs/{study}/*/report")
        return lambda table: pd.read_csv(folder / f"{table}.csv", keep_default_na=False, na_values=[""])

    return run


@pytest.mark.parametrize("name", studies())
def test_every_study_has_a_report_that_can_be_made(name: str) -> None:
    config = composed([f"study={name}"])
    spec = parse(OmegaConf.to_container(config.report))
    assert config.name == name, "its folder under outputs/"
    assert spec.tables and spec.title and spec.question.endswith("?")
    swept = config.hydra.sweeper.params if "hydra" in config else _params(name)
    assert set(config.short) - {"resolution", "timing", "timing.budget_s"} <= set(swept), (
        "the short form shortens its own axes"
    )


def _params(name: str) -> dict[str, Any]:
    params: dict[str, Any] = OmegaConf.load(CONF_DIR / "study" / f"{name}.yaml").hydra.sweeper.params
    return params


@pytest.mark.slow
def test_parameters_of_the_block_ablation(report_of: Any) -> None:
    table = report_of("block_ablation/channels")("parameters").set_index(["block", "channels"])
    for row in PUBLISHED["block_ablation"]["equal_channels"]:
        for name, block in BLOCKS.items():
            found = table.loc[(block, row["ch"])]
            assert (found["parameters/train"], found["parameters/deploy"]) == (row[name]["train"], row[name]["deploy"])


@pytest.mark.slow
def test_parameters_of_the_channel_pairs(report_of: Any) -> None:
    table = report_of("block_ablation/pairs")("parameters").set_index(["block", "channels_in_out"])
    for row in PUBLISHED["block_ablation"]["expansion_pairs"]:
        for name, block in BLOCKS.items():
            found = table.loc[(block, "{}_{}".format(*row["pair"]))]
            assert (found["parameters/train"], found["parameters/deploy"]) == (row[name]["train"], row[name]["deploy"])


@pytest.mark.slow
def test_parameters_and_macs_of_the_block_comparison(report_of: Any) -> None:
    table = report_of("block_comparison/stages")("cost").set_index(["network", "stage_of_encoder"])
    comparison = PUBLISHED["block_comparison"]
    for row in comparison["rows"]:
        for network in ("jeongwon", "cmunext"):
            found = table.loc[(network, row["stage"].lower())]
            assert found["parameters/deploy"] == row[network]["params"]
            assert found["macs/thop"] == row[network]["thop_macs"]


@pytest.mark.slow
def test_totals_of_the_block_comparison(report_of: Any) -> None:
    table = report_of("block_comparison/stages")("cost")
    totals = table[table["stage_of_encoder"] == "total"].set_index("network")["parameters/deploy"]
    assert totals.to_dict() == PUBLISHED["block_comparison"]["total_params"]


@pytest.mark.slow
def test_parameters_of_the_prcm_variants(report_of: Any) -> None:
    table = report_of("prcm_expansion/variants")("variants").set_index("variant")["parameters/deploy"]
    assert {name: table[variant] for name, variant in VARIANTS.items()} == PUBLISHED["prcm_expansion"]["params_c64"]


@pytest.mark.parametrize(
    ("study", "axis", "published", "key"),
    [
        ("se_expansion", "prcm.expansion", "se_expansion", "expansion"),
        ("pool_size", "prcm.pool_size", "adaptive_pool_size", "pool_size"),
    ],
)
def test_parameters_over_a_prcm_option(report_of: Any, study: str, axis: str, published: str, key: str) -> None:
    table = report_of(f"prcm_expansion/{study}")(study.removeprefix("se_")).set_index(axis)["parameters/deploy"]
    assert table.to_dict() == {row[key]: row["params"] for row in PUBLISHED["prcm_expansion"][published]}


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["fpn", "unet"])
def test_parameters_of_the_decoders(report_of: Any, decoder: str) -> None:
    table = report_of(f"encoder_benchmark/{decoder}", "mode=baseline", "resolution=64")(decoder)
    found = table.set_index("model.encoder")
    published = {name: row[decoder] for name, row in ENCODERS.items() if decoder in row}
    assert found["parameters/deploy"].to_dict() == {name: row["total_params"] for name, row in published.items()}
    assert found["parameters/encoder"].to_dict() == {name: row["encoder_params"] for name, row in published.items()}


ENCODERS = PUBLISHED["encoder_benchmark"]["encoders"]


@pytest.mark.slow
def test_parameters_of_the_classifiers(report_of: Any) -> None:
    table = report_of("encoder_benchmark/modes", "mode=baseline", "resolution=64")("parameters")
    found = table.set_index("model.encoder")["parameters/deploy"].to_dict()
    assert found == {name: row["classifier_params"] for name, row in ENCODERS.items()}


@pytest.mark.slow
def test_parameters_of_the_volumes(report_of: Any) -> None:
    variants = "variant=classes117/stunet_s,classes117/totalsegmentator"
    table = report_of("encoder_benchmark/volumes", variants, "input.shape=[1,32,32,64]")("volumes").set_index("network")
    found = {name: table.loc[network, "parameters/deploy"] for name, network in VOLUMES.items()}
    assert found == {name: row["params"] for name, row in PUBLISHED["encoder_benchmark"]["volumes"].items()}


VOLUMES = {"STU-Net-S": "stunet_s", "TotalSegmentator": "totalsegmentator"}


def test_working_sets_and_intensities(report_of: Any) -> None:
    read = report_of("working_set/stages", "analysis=none")
    published = PUBLISHED["working_set"]
    working_sets, intensities = read("working_set"), read("intensity")
    for found, row in zip(working_sets.to_dict("records"), published["dw_working_set"], strict=True):
        assert {key: found[key] for key in row["bytes"]} == row["bytes"]
        assert [found[key] for key in ("config", "total_bytes", "total_mb", "fits_l2", "fits_l3", "bottleneck")] == [
            row[key] for key in ("config", "total_bytes", "total_mb", "fits_l2_1mb", "fits_l3_8mb", "bottleneck")
        ]
    assert intensities.to_dict("records") == published["arithmetic_intensity"]


def test_memory_of_repconv(report_of: Any) -> None:
    table = report_of("working_set/repconv_memory")("repconv_memory")
    for found, row in zip(table.to_dict("records"), PUBLISHED["working_set"]["repconv_memory"], strict=True):
        assert found == pytest.approx(row)


def test_feature_maps(report_of: Any) -> None:
    table = report_of("working_set/feature_maps")("feature_maps").set_index("layer")
    maps = PUBLISHED["working_set"]["feature_maps"]
    for row in (*maps["encoder"], *maps["decoder"]):
        assert table.loc[row["layer"], ["res", "ch", "elements", "bytes"]].tolist() == [
            row[key] for key in ("res", "ch", "elements", "bytes")
        ]
    for part in ("encoder", "decoder"):
        assert table.loc[f"{part} total", "bytes"] == maps[f"{part}_total_bytes"]


@pytest.mark.parametrize(
    ("arguments", "first", "count"),
    [
        (["study=all"], "block_ablation/batch", len(studies())),
        (["study=prcm_expansion", "timing=quick"], "prcm_expansion/channels", 5),
        (["study=block_ablation/channels,working_set/stages"], "block_ablation/channels", 2),
    ],
)
def test_several_studies_are_found(arguments: list[str], first: str, count: int) -> None:
    found = several_studies(arguments)
    assert found is not None
    assert (found[0][0], len(found[0])) == (first, count)
    assert found[1] == arguments[1:]


@pytest.mark.parametrize("name", ["block_ablation/chanels", "nonsense,all"])
def test_a_study_that_is_not_there_is_answered_with_those_that_are(segbench_here: CommandLine, name: str) -> None:
    done = segbench_here(f"study={name}")
    assert done.returncode == 2
    assert "is not a choice" in done.stderr and "block_ablation/channels, " in done.stderr
    assert ("did you mean block_ablation/channels?" in done.stderr) == ("chanels" in name)


def test_a_point_cannot_be_shortened(segbench_here: CommandLine, tmp_path: Path) -> None:
    done = segbench_here("quick")
    assert done.returncode == 2 and "use timing=quick" in done.stderr
    assert not list(tmp_path.glob("outputs/*/*"))


@pytest.mark.parametrize("arguments", [["study=block_ablation/channels"], ["block=dw"], []])
def test_one_study_or_none_is_left_to_hydra(arguments: list[str]) -> None:
    assert several_studies(arguments) is None


def test_what_is_wrong_for_all_studies_is_said_once(segbench_in: CommandLine) -> None:
    done = segbench_in("study=all", "quick", "chanels=3", "tracker=none")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "did you mean channels" in done.stderr


@pytest.mark.slow
def test_several_studies_run_one_after_the_other_with_an_index(segbench_in: CommandLine, tmp_path: Path) -> None:
    names = "prcm_expansion/pool_size,prcm_expansion/se_expansion"
    done = segbench_in(f"study={names}", "quick", "tracker=none", "timing.budget_s=0.1")
    assert done.returncode == 0, done.stderr
    (index,) = tmp_path.glob("outputs/studies/*/index.html")
    for name in names.split(","):
        assert f'href="{name}/report/report.html"' in index.read_text()
        assert (index.parent / name / "report/report.html").is_file()
        records = list((index.parent / name).glob("*/record.json"))
        assert len(records) == 3, "the short axes"
        assert json.loads(records[0].read_text())["config"]["timing"]["target_percent"] == 5.0


def test_a_report_that_cannot_be_made_is_refused_before_anything_is_measured(
    segbench_here: CommandLine, tmp_path: Path
) -> None:
    done = segbench_here(
        "study=prcm_expansion/pool_size",
        "report.tables=[{name: a, caption: b, rows: [block], quantities: [latenzy]}]",
    )
    assert done.returncode == 2
    assert "quantity=latenzy is not allowed: choose one of" in done.stderr
    assert not list(tmp_path.glob("outputs/*/*/*/*/record.json"))


def test_studies_are_resumed_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    new, rest = folder_of(["tracker=none"])
    assert new.parent == Path("outputs/studies") and rest == ["tracker=none"]
    assert folder_of(["resume=true"])[0].parent == Path("outputs/studies"), "nothing to resume: a new one"
    for name in ("2026-01-01", "2026-01-02"):
        (tmp_path / "outputs" / "studies" / name).mkdir(parents=True)
    assert folder_of(["resume=true", "quick=true"]) == (Path("outputs/studies/2026-01-02"), ["quick=true"])
    assert folder_of(["resume=outputs/studies/2026-01-01"])[0].name == "2026-01-01"
    with pytest.raises(RefusedError, match="resume=nowhere is not a folder of studies"):
        folder_of(["resume=nowhere"])
