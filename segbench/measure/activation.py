"""Peak activation memory, traced exactly from the storages that a step allocates."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Follows every storage that operators create while the mode is active, until it is freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in PyTorch
        self.live: int = 0
        self.peak: int = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        with self:  # a composite operator shows its parts here
            out = func.decompose(*args, **(kwargs or {}))
        if out is not NotImplemented:
            return out
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        foreign = {id(tensor.untyped_storage()) for tensor in inputs}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and id(tensor.untyped_storage()) not in foreign:
                self._follow(tensor)
        return out

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return
        self._known[key] = weakref.ref(storage, lambda _: self._release(key, size))
        self.live += size
        self.peak = max(self.peak, self.live)

    def _release(self, key: int, size: int) -> None:
        del self._known[key]
        self.live -= size


def peak_activation_bytes(step: Callable[[], Any]) -> int:
    """Largest number of bytes that one call of `step` holds at a time in tensors that it made itself.

    Counted from the storages behind the operators' outputs: views cost nothing, parameters and the input are
    not included, the result is. What a kernel allocates and frees inside itself is not seen.
    """
    with LiveBytes() as trace:
        result = step()
    del result
    peak: int = trace.peak
    return peak
