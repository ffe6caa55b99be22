"""What an NVIDIA GPU did while a step was timed, read through NVML: clocks, power limit, throttling."""

from functools import lru_cache
from typing import Any

import torch

THROTTLING = ("SwPowerCap", "HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown")
"""NVML's names of the reasons for which a GPU runs below the clock it would otherwise take."""


def gpu_evidence(device: torch.device) -> dict[str, float]:
    """Clocks in MHz, power limit and draw in W, temperature in degrees and whether it is throttled (0 or 1).

    Empty for other devices, and where NVML is not there.
    """
    nvml = _nvml() if device.type == "cuda" else None
    if nvml is None:
        return {}
    properties: Any = torch.cuda.get_device_properties(device)
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
        return read_state(nvml, handle)
    except nvml.NVMLError:
        return {}


def read_state(nvml: Any, handle: Any) -> dict[str, float]:
    """The readings of one GPU; what it does not support is left out."""
    readings = {
        "gpu_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        "gpu_memory_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
        "gpu_power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000,
        "gpu_power_w": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
        "gpu_temperature_c": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        "gpu_throttled": lambda: bool(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle) & _throttling(nvml)),
    }
    found: dict[str, float] = {}
    for name, read in readings.items():
        try:
            found[name] = float(read())  # type: ignore[no-untyped-call]  # a lambda on an untyped library
        except nvml.NVMLError:
            continue
    return found


def _throttling(nvml: Any) -> int:
    mask = 0
    for reason in THROTTLING:
        mask |= getattr(nvml, f"nvmlClocksEventReason{reason}")
    return mask


@lru_cache(maxsize=1)
def _nvml() -> Any:
    """The initialised library, or `None`."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # not installed, no driver, no permission: there is nothing to read
        return None
    return pynvml
