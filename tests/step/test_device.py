"""Settings of device, precision and phase: checked as they are made, and applied only where that is true."""

import gc
import weakref
from typing import Any

import pytest
from torch import nn

from segbench.base.errors import NotAllowedError, UnsupportedError
from segbench.config.compose import CONF_DIR, composed, instantiated, plain
from segbench.point.entry import try_out
from segbench.step.device import Device, forget_earlier_points

TINY = ["block=dw", "channels=8", "resolution=8", "timing=fixed_20_100", "timing.warmup_calls=0", "device.threads=1"]
GROUPS = ("device", "precision", "phase", "machine", "timing", "analysis", "execution")


@pytest.mark.parametrize(
    "choice", [f"{group}={path.stem}" for group in GROUPS for path in sorted((CONF_DIR / group).glob("*.yaml"))]
)
def test_every_choice_of_settings_is_an_object_with_its_values(choice: str) -> None:
    group = choice.partition("=")[0]
    node = plain(composed([choice]), resolve=True)[group]
    settings = instantiated({group: node})[group]
    assert f"{type(settings).__module__}.{type(settings).__name__}" == node.pop("_target_")
    assert {key: getattr(settings, key) for key in node} == node


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("device.threads=0", "device.threads=0 is not allowed: it must be an integer, 1 or more"),
        ("device.flush_denormal=maybe", "device.flush_denormal=maybe is not allowed: it must be true or false"),
        ("device.affinity=[-1]", "device.affinity=-1 is not allowed"),
        ("memory_format=planar", "memory_format=planar is not allowed: choose one of channels_last, contiguous"),
        ("precision.dtype=foo", "precision.dtype=foo is not allowed: choose one of bfloat16, float16, float32"),
        ("precision.gradient_tolerance=-1", "precision.gradient_tolerance=-1 is not allowed"),
        ("machine.l2_mib=0", "machine.l2_mib=0 is not allowed: it must be a number above 0"),
        ("phase.step=both", "phase.step=both is not allowed"),
    ],
)
def test_a_wrong_setting_is_refused_with_name_value_and_rule(override: str, said: str) -> None:
    attempt = try_out([*TINY, override])
    assert attempt.status == "unsupported"
    assert attempt.reason is not None and said in attempt.reason


def test_a_devices_settings_name_the_key_as_data() -> None:
    with pytest.raises(NotAllowedError) as caught:
        Device("cpu", 0, None, False, True, "contiguous")
    assert (caught.value.name, caught.value.value) == ("device.threads", 0)


def test_memory_that_is_kept_cannot_be_given_back_by_a_later_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """glibc's setting holds for the rest of the process: a second point must not be recorded as measured without it."""
    timed: list[Any] = []
    monkeypatch.setattr("segbench.point.measure._timed", lambda *arguments: timed.append(arguments))
    Device("cpu", 1, None, False, True, "contiguous").apply()
    attempt = try_out([*TINY, "device.keep_memory=false"])
    assert attempt.status == "unsupported" and not timed
    assert attempt.reason is not None and "use isolation=process, or one command for each" in attempt.reason


def test_a_device_that_is_not_there_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="device=xpu is not available here"):
        Device("xpu", 1, None, False, True, "contiguous").apply()


def test_modules_of_earlier_points_are_freed_although_they_hold_on_to_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also one that was alive when the first points hid the libraries from the collector."""
    monkeypatch.setattr("segbench.step.device._collections", 0)
    module = nn.Linear(2, 2)
    module.itself = [module]  # a cycle, as hooks and back references make them
    gone = weakref.ref(module)
    forget_earlier_points()
    del module
    forget_earlier_points()
    assert gone() is None


def test_the_collector_does_not_look_at_libraries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segbench.step.device._collections", 0)
    monkeypatch.setattr("segbench.step.device._a_module_is_alive", lambda: False)
    library = [[]]
    library.append(library)
    forget_earlier_points()
    assert not any(each is library for each in gc.get_objects())
    gc.unfreeze()
