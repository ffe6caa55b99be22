"""Caches of the machine that a point runs on: read from the system, or as the user says."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cpuinfo
import torch

from segbench.base.checks import boolean, positive_number

CACHES = Path("/sys/devices/system/cpu")
KIB, MIB = 2**10, 2**20
SIMD = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "neon", "asimd", "sve")
LEVELS = ("L2", "L3", "memory")


@dataclass(frozen=True)
class Machine:
    """Sizes in bytes, of all instances that the threads of a point reach together; `None` where nothing tells."""

    l1_bytes: int | None
    l2_bytes: int | None
    l3_bytes: int | None
    simd: tuple[str, ...] = ()
    memory_bytes: int | None = None
    """Of the accelerator; `None` for the processor."""

    def level(self, working_set_bytes: float) -> str:
        """The smallest of L2, L3 and memory that holds a working set."""
        if self.l2_bytes and working_set_bytes <= self.l2_bytes:
            return "L2"
        if self.l3_bytes and working_set_bytes <= self.l3_bytes:
            return "L3"
        return "memory"


@dataclass(frozen=True)
class MachineSettings:
    """The settings of `machine`: cache sizes in place of those read, and whether to measure ceilings anew."""

    l1_kib: float | None = None
    l2_mib: float | None = None
    l3_mib: float | None = None
    remeasure: bool = False

    def __post_init__(self) -> None:
        boolean("machine.remeasure", self.remeasure)
        sizes = [size for _, size in sorted(self.given().items())]
        if sizes != sorted(sizes):
            raise ValueError(
                "machine.l1_kib, machine.l2_mib and machine.l3_mib must not decrease: each level is larger"
            )

    def given(self) -> dict[int, int]:
        """The sizes that are given, in bytes by level."""
        sizes = ((1, "l1_kib", KIB), (2, "l2_mib", MIB), (3, "l3_mib", MIB))
        return {
            level: round(unit * positive_number(f"machine.{name}", getattr(self, name)))
            for level, name, unit in sizes
            if getattr(self, name) is not None
        }

    def read(self, device: torch.device) -> Machine:
        """The machine as it is, with the sizes that are given in place of those read.

        Call it with the thread count set: a level counts as often as it is there for the threads.
        """
        if device.type == "cuda":
            properties = torch.cuda.get_device_properties(device)
            sizes = {2: int(properties.L2_cache_size)} | self.given()
            return Machine(sizes.get(1), sizes.get(2), sizes.get(3), (), int(properties.total_memory))
        sizes = read_caches(CACHES, torch.get_num_threads()) | self.given()
        flags = cpu_facts().get("flags", [])
        return Machine(sizes.get(1), sizes.get(2), sizes.get(3), tuple(name for name in SIMD if name in flags))


@lru_cache(maxsize=1)
def cpu_facts() -> dict[str, Any]:
    """What py-cpuinfo finds out about the processor; it takes a second."""
    facts: dict[str, Any] = cpuinfo.get_cpu_info()
    return facts


def read_caches(folder: Path, threads: int) -> dict[int, int]:
    """Bytes of the data caches by level, as Linux lists them below `folder`; empty where it does not.

    Each level is counted for as many of its instances as `threads` processors can use at once.
    """
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    instances: dict[int, dict[str, int]] = {}
    for processor in sorted(usable):
        for index in (folder / f"cpu{processor}" / "cache").glob("index*"):
            try:
                kind, level, size, shared = (
                    (index / name).read_text().strip() for name in ("type", "level", "size", "shared_cpu_list")
                )
            except OSError:
                continue
            if kind != "Instruction":
                instances.setdefault(int(level), {})[shared] = _size_bytes(size)
    return {level: sum(sorted(found.values(), reverse=True)[:threads]) for level, found in instances.items()}


def _size_bytes(text: str) -> int:
    units = {"K": KIB, "M": MIB, "G": 2**30}
    return int(text[:-1]) * units[text[-1]] if text[-1] in units else int(text)
