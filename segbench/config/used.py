"""What of a composed configuration a point really uses, and which of the typed overrides it does not."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from segbench.config.keys import Role, has_role, keys_with
from segbench.config.overrides import key_of, parsed

_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def used_parameters(raw: Mapping[str, Any], resolved: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices and options that a point uses, by short names: `block`, `channels`, `block.kernel_size`, ...

    `raw` is the configuration as a plain mapping with its interpolations, `resolved` the same without,
    `choices` the option chosen in every config group. A group that nothing refers to, for example the block
    of a network that has none of its own, is left out.
    """
    names: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for key in _used_keys(raw, keys_with(Role.MEASURED)):
        node = _lookup(raw, key)
        if key in choices:
            names[key] = choices[key]
        elif isinstance(node, list):
            if not all(_references(item) for item in node):
                options[key] = str(_lookup(resolved, key))
        elif not isinstance(node, Mapping):
            (options if "." in key else names)[key] = _lookup(resolved, key)
    return names | options


def unused_note(overrides: Sequence[str], parameters: Mapping[str, Any]) -> str | None:
    """Which of the typed overrides a point does not use, in one sentence; `None` where it uses them all."""
    unused = [typed for typed in overrides if not parsed(typed).is_delete() and not _is_used(key_of(typed), parameters)]
    if not unused:
        return None
    listed = " ".join(typed.lstrip("+") for typed in unused)
    return f"{listed} changes nothing here: model={parameters.get('model')} does not use it"


def _is_used(key: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a typed key is among the parameters, above one of them, below one, or refers to one."""
    if has_role(key, Role.ALLOWED_UNUSED) or has_role(key, Role.GATE):
        return True
    return any(
        used == key or used.startswith(f"{key}.") or key.startswith(f"{used}.") or key.endswith(f".{used}")
        for used in parameters
    )


def _references(node: Any) -> list[str]:
    """The keys that a value refers to by interpolation."""
    return _REFERENCE.findall(node) if isinstance(node, str) else []


def _used_keys(raw: Mapping[str, Any], roots: tuple[str, ...]) -> Iterator[str]:
    """Dotted keys of the nodes below `roots` and of what they refer to, each once, depth first."""
    seen: set[str] = set()

    def visit(key: str) -> Iterator[str]:
        if key in seen:
            return
        seen.add(key)
        node = _lookup(raw, key)
        items = node if isinstance(node, list) else [node]
        references = [reference for item in items for reference in _references(item)]
        if not references or isinstance(node, list) or "." not in key:
            yield key
        for reference in references:
            yield from visit(reference)
        if isinstance(node, Mapping):
            for child in node:
                if not str(child).startswith("_") or key.startswith("model.kwargs"):
                    yield from visit(f"{key}.{child}")

    for root in roots:
        yield from visit(root)


def _lookup(mapping: Mapping[str, Any], key: str) -> Any:
    node: Any = mapping
    for part in key.split("."):
        node = node[int(part)] if isinstance(node, list) else node[part]
    return node
