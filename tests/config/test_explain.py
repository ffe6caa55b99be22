"""Errors of the configuration in words."""

import pytest

from segbench.config.compose import CONFIGURATION_ERRORS, composed
from segbench.config.explain import explain


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("device.thread=1", "did you mean threads? device (here segbench.step.device.Device) has affinity,"),
        ("precision.dtyp=x", "did you mean dtype?"),
        ("chanels=8", "chanels is not a key: did you mean channels?"),
        ("block=dv", "block=dv is not a choice: block is one of"),
        ("channels=${nothing}", "channels"),
    ],
)
def test_an_unknown_key_or_choice_is_answered_with_what_there_is(override: str, said: str) -> None:
    with pytest.raises(CONFIGURATION_ERRORS) as caught:
        str(composed([override]).channels)
    assert said in explain(caught.value)
