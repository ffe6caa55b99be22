"""What of a configuration a point uses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbench.config.overrides import swept
from segbench.config.used import unused_note
from segbench.sweep.axes import count_points

PARAMETERS = {"model": "stunet_s", "model.num_classes": 117, "model.kwargs.width": 8, "in_channels": 1, "device": "cpu"}


@pytest.mark.parametrize(
    "override",
    [
        "model=stunet_s",
        "model.num_classes=3",
        "model.kwargs={width:8}",
        "in_channels=1",
        "model.in_channels=1",
        "device=cpu",
        "device.threads=1",
        "+timing.more=1",
        "name=mine",
        "hydra.run.dir=x",
        "tracker=none",
    ],
)
def test_used_keys_are_not_remarked_on(override: str) -> None:
    assert unused_note([override], PARAMETERS) is None


@pytest.mark.parametrize("override", ["channels=3", "block=dw", "block.kernel_size=3", "resolution=96"])
def test_unused_keys_are(override: str) -> None:
    assert unused_note([override, "in_channels=1"], PARAMETERS) == (
        f"{override} changes nothing here: model=stunet_s does not use it"
    )


@given(st.lists(st.integers(1, 5), min_size=0, max_size=4))
def test_points_are_the_product_of_the_axes(lengths: list[int]) -> None:
    axes = [f"key{i}={','.join(map(str, range(n)))}" for i, n in enumerate(lengths)]
    expected = 1
    for length in lengths:
        expected *= length
    assert count_points(swept([*axes, "fixed=1"])) == expected


def test_ranges_and_later_values_count_and_globs_are_left_to_hydra() -> None:
    assert count_points(swept(["seed=range(0,200)"])) == 200
    assert count_points(swept(["seed=1,2,3", "seed=4,5"])) == 2
    assert count_points(swept(["block=glob(*)"])) is None
