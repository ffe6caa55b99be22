"""What determines a point's result, as hashes: a record stands for a point only where all of them agree."""

import hashlib
import importlib.util
import json
import os
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import segbench
from segbench.config.compose import Sources
from segbench.config.keys import Role, has_role
from segbench.config.overrides import decisive, key_of, value_of

_BACKENDS = """
    torch triton numpy scipy timm thop segmentation-models-pytorch dynamic-network-architectures onnx onnxruntime
    onnxscript openvino
"""
BACKENDS = tuple(_BACKENDS.split())
NOT_MEASURING = ("report", "sweep", "tracking", "__main__.py")
"""Parts of segbench that a measurement does not pass through."""
_SETTINGS = """
    OMP_NUM_THREADS OMP_PROC_BIND OMP_PLACES OMP_WAIT_POLICY OMP_SCHEDULE OMP_DYNAMIC GOMP_CPU_AFFINITY
    GOMP_SPINCOUNT KMP_AFFINITY KMP_BLOCKTIME MKL_NUM_THREADS OPENBLAS_NUM_THREADS ATEN_CPU_CAPABILITY LD_PRELOAD
    GLIBC_TUNABLES
"""
SETTINGS = tuple(_SETTINGS.split())
"""Variables of the environment that change how fast, or with what instructions, everything is computed."""
TIMEOUT = "point_timeout_s"
MACHINE_FACTS = ("host", "os", "cpu", "cores_physical", "cores_logical", "cores_usable", "accelerator")
PARTS = {
    "config": "configuration",
    "code": "code of segbench or of the measured module",
    "software": "version of PyTorch or of a back end",
    "machine": "machine",
}


def identity(config: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of a resolved configuration, the code, the software and the machine, by the names in `PARTS`."""
    decisive_part = {key: value for key, value in config.items() if not has_role(key, Role.INCIDENTAL)}
    if config.get(TIMEOUT) is not None:  # which takes a process of its own
        decisive_part["isolation"] = "process"
    return {
        "config": digest(decisive_part),
        "code": code_version(targets(config)),
        "software": software_hash(),
        "machine": machine_hash(environment),
    }


def differences(old: Mapping[str, str], new: Mapping[str, str], parts: Collection[str] = tuple(PARTS)) -> list[str]:
    """Which of the `parts` differ between two identities, in words; one that is missing differs."""
    return [PARTS[part] for part in parts if part not in old or old[part] != new.get(part)]


def recipe(overrides: Sequence[str], sources: Sources) -> str | None:
    """Hash of what a configuration is composed from: the same recipe gives the same configuration, uncomposed.

    `None` where that is not sure: where files of packages, the environment or the time may come in.
    """
    asked, files = decisive(overrides), _configuration_files(sources.folders)
    if files is None or not sources.known or any("${" in override for override in asked):
        return None
    limited = any(key_of(override) == TIMEOUT and value_of(override) is not None for override in overrides)
    return digest([asked, limited, files, sources.name, version("hydra-core")])


def software_hash() -> str:
    """Hash of the versions of all that computes, and of what the environment sets of it; CUDA's is the machine's."""
    versions = {name: version(name) for name in BACKENDS}
    settings = {name: os.environ[name] for name in SETTINGS if name in os.environ}
    return digest({"python": sys.version, **versions, **settings})


def machine_hash(environment: Mapping[str, Any]) -> str:
    """Hash of the machine as an environment describes it, with the accelerator that the point runs on."""
    return digest({fact: environment.get(fact) for fact in MACHINE_FACTS})


def digest(value: Any) -> str:
    """SHA-256 of a value as sorted JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


@lru_cache
def code_version(targets: tuple[str, ...]) -> str:
    """Hash of segbench's own source files, and of those around the `targets` that belong to no installed package."""
    package = Path(segbench.__file__).parent
    own = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in NOT_MEASURING]
    others = [path for target in targets for path in _sources_of(target)]
    tops = {target.partition(".")[0] for target in targets}
    installed = {top: version(top) for top in sorted(tops) if top.isidentifier()}
    content = {str(path.relative_to(package)): _hash(path) for path in sorted(own)}
    return digest([content, [path.name + _hash(path) for path in others], installed])


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def targets(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Every dotted name that a configuration would call, other than segbench's own."""
    return tuple(sorted(set(_targets(config))))


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ("_target_", "target") and isinstance(value, str) and not value.startswith("segbench."):
                yield value
            else:
                yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _sources_of(target: str) -> list[Path]:
    """The source files of the user's package that `target` is in, or of all modules beside the one it is in.

    None for an installed package.
    """
    top = target.partition(".")[0]
    if not top.isidentifier():
        return []
    for folder in (Path.cwd(), *map(Path, sys.path)):
        if (folder / f"{top}.py").is_file():
            return [] if _is_installed(folder) else sorted(folder.glob("*.py"))
        if (folder / top).is_dir() and importlib.util.find_spec(top):
            return [] if _is_installed(folder) else sorted((folder / top).rglob("*.py"))
    return []


def _is_installed(folder: Path) -> bool:
    installed = [Path(sysconfig.get_paths()[name]).resolve() for name in ("purelib", "platlib", "stdlib")]
    return any(folder.resolve().is_relative_to(other) for other in installed)


@lru_cache
def _configuration_files(sources: tuple[str, ...]) -> dict[str, str] | None:
    """Hashes of the YAML files below the folders; `None` where one of them reads the environment."""
    found: dict[str, str] = {}
    for source in sources:
        for path in sorted(Path(source).rglob("*.yaml")):
            if b"oc.env" in path.read_bytes():
                return None
            found[str(path)] = _hash(path)
    return found


@lru_cache
def version(package: str) -> str | None:
    """The version of an installed package; `None` where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
