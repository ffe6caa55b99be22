"""What of a configuration a point uses."""

import pytest

from segbench.config.used import unused_note

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
        "form_tolerance=1e-3",
    ],
)
def test_used_keys_are_not_remarked_on(override: str) -> None:
    assert unused_note([override], PARAMETERS) is None


@pytest.mark.parametrize("override", ["channels=3", "block=dw", "block.kernel_size=3", "resolution=96"])
def test_unused_keys_are(override: str) -> None:
    assert unused_note([override, "in_channels=1"], PARAMETERS) == (
        f"{override} changes nothing here: model=stunet_s does not use it"
    )
