"""What ran where: versions, commit, machine, threads, as read back at run time."""

import os
import platform
import socket
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
import torch

import segbench
from segbench.measure.machine import SIMD, cpu_facts
from segbench.point.identity import version
from segbench.step.device import usable_processors

PACKAGES = ("torch", "numpy", "thop", "timm", "hydra-core", "omegaconf", "mlflow", "pandas")


def describe(device: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Everything about the software and the machine that a number may depend on.

    `device` is the point's: an accelerator is described only where the point runs on it, because looking at one opens
    a context on it.
    """
    backends: Any = torch.backends  # newer than its type stubs
    return {
        **_software(),
        **_machine(),
        "accelerator": accelerator(device or {}),
        "threads": torch.get_num_threads(),
        "threads_interop": torch.get_num_interop_threads(),
        "cores_usable": len(usable_processors()),
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "fp32_precision": backends.fp32_precision,
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def warm_up() -> None:
    """Find out now what does not change while a process lives."""
    _software()
    _machine()


@lru_cache(maxsize=1)
def _software() -> dict[str, Any]:
    return {
        "segbench": segbench.__version__,
        **commit(Path(segbench.__file__).parent),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


@lru_cache(maxsize=1)
def _machine() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "os": platform.platform(),
        "cpu": cpu_facts().get("brand_raw", platform.processor()),
        "simd": [name for name in SIMD if name in cpu_facts().get("flags", [])],
        "cores_physical": psutil.cpu_count(logical=False),
        "cores_logical": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }


def accelerator(device: Mapping[str, Any]) -> dict[str, Any] | None:
    """The GPU that a device's settings name; `None` where they name none, or one that is not there."""
    index = device.get("index", 0)
    there = device.get("type") == "cuda" and isinstance(index, int) and 0 <= index < torch.cuda.device_count()
    return _accelerator(index) if there else None


@lru_cache
def _accelerator(index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    return {
        "index": index,
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def commit(folder: Path) -> dict[str, Any]:
    """Git commit of the code in `folder` and whether files differ from it; `None` outside a repository."""
    head = _git(folder, "rev-parse", "HEAD")
    tracked = head is not None and _git(folder, "ls-files", "--error-unmatch", "__init__.py") is not None
    if not tracked:
        return {"commit": None, "uncommitted_changes": None}
    return {"commit": head, "uncommitted_changes": bool(_git(folder, "status", "--porcelain", "--", str(folder)))}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
