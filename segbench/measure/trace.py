"""One run of a step, operator by operator: where in the module, shapes, FLOPs, bytes moved and bytes alive.

The operators are those that PyTorch's dispatcher really runs, composite ones taken apart. Bytes are those of the
tensors that an operator reads and writes, each once; views move none. What a kernel allocates and frees inside itself
is not seen, nor what it reads twice.
"""

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segbench.measure.flop_rules import FREE, base_name, cost, first_tensor
from segbench.measure.flops_torch import fused_attention_taken_apart
from segbench.measure.operators import ModuleCall, Operator, Trace

COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
UNREAD = frozenset({"copy", "fill", "zero", "normal", "uniform", "bernoulli", "exponential"})
"""In-place operators that write their first argument without reading it."""
ALLOCATIONS = frozenset({"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"})
"""Operators whose result nobody has written yet."""


def trace_step(step: Callable[[], Any], module: nn.Module) -> Trace:
    """Run `step` once and follow it; `module` gives the operators their paths.

    Neither the module, nor its buffers, nor the state of the random numbers are different afterwards. The bytes alive
    are those of tensors that the step made itself: parameters and input are not among them, the result is.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    paths = _ModulePaths(module)
    tracer = _Tracer(paths)
    kept = _buffers_kept(module), fused_attention_taken_apart()
    with torch.random.fork_rng(devices=devices), kept[0], kept[1], paths, tracer:
        result = step()
    del result
    return Trace(tracer.operators, paths.calls, tracer.peak, tracer.peak_operator)


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Give every module its buffers back, with the values they had."""
    before = [
        (part, name, buffer, buffer.clone())
        for part in module.modules()
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        for part, name, buffer, values in before:
            part._buffers[name] = buffer
            if not torch.equal(buffer, values):
                with torch.no_grad():
                    buffer.copy_(values)


class _ModulePaths:
    """Knows in which module a step is: hooks on all modules while it is entered, none on any of them."""

    def __init__(self, module: nn.Module) -> None:
        self._names = {id(child): name for name, child in module.named_modules()}
        self.stack: list[tuple[str, str, int]] = []
        self.calls: list[ModuleCall] = []
        self.count = 0
        """Operators so far; the tracer keeps it."""

    def __enter__(self) -> Self:
        self._handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _enter(self, module: nn.Module, _: Any) -> None:
        above = f"{self.stack[-1][0]}." if self.stack and self.stack[-1][0] else ""
        name = self._names.get(id(module), f"{above}<{type(module).__name__}>")  # made while the step runs
        self.stack.append((name, type(module).__name__, self.count))

    def _leave(self, module: nn.Module, _: Any, result: Any) -> None:
        path, module_type, first = self.stack.pop()
        tensor = first_tensor(result)
        shape, size = ((), 0) if tensor is None else (tuple(tensor.shape), tensor.nbytes)
        self.calls.append(ModuleCall(path, module_type, shape, size, first, self.count))


class _Tracer(TorchDispatchMode):
    """Records every operator, and follows every storage that one creates until it is freed."""

    def __init__(self, paths: _ModulePaths) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in PyTorch
        self.paths = paths
        self.operators: list[Operator] = []
        self.live = 0
        self.peak = 0
        self.peak_operator: int | None = None
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE):
            with self:  # a composite operator shows its parts here, as it would run them
                return func._op_dk(COMPOSITE, *args, **kwargs)
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        foreign = {id(tensor.untyped_storage()) for tensor in inputs}
        before = self.live
        out = func(*args, **kwargs)
        results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        made = [tensor for tensor in results if id(tensor.untyped_storage()) not in foreign]
        for tensor in made:
            self._follow(tensor)
        changed, unread = _changed(func, args, kwargs)
        if made or changed:
            self._record(func, args, inputs, out, made, changed, unread, before)
        return out

    def _record(
        self,
        func: Any,
        args: tuple[Any, ...],
        inputs: list[Tensor],
        out: Any,
        made: list[Tensor],
        changed: list[Tensor],
        unread: list[Tensor],
        before: int,
    ) -> None:
        name = base_name(func)
        found = cost(func, args, out)
        skipped = {_region(tensor) for tensor in unread}
        read = {_region(tensor): _bytes(tensor) for tensor in inputs if _region(tensor) not in skipped}
        wrote = {_region(t): _bytes(t) for t in (*changed, *(made if name not in ALLOCATIONS else ()))}
        path, module_type, _ = self.paths.stack[-1] if self.paths.stack else ("", "", 0)
        result = first_tensor([out, changed])
        assert result is not None
        self.operators.append(
            Operator(
                index=len(self.operators),
                path=path,
                module_type=module_type,
                name=name,
                input_shapes=tuple(tuple(tensor.shape) for tensor in inputs),
                output_shape=tuple(result.shape),
                dtype=str(result.dtype).removeprefix("torch."),
                flops=found.flops if found else None,
                product_flops=(found or FREE).products,
                bytes_read=sum(read.values()) if name not in ALLOCATIONS else 0,
                bytes_written=sum(wrote.values()),
                live_before_bytes=before,
                live_after_bytes=self.live,
            )
        )
        self.paths.count = len(self.operators)

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return
        self._known[key] = weakref.ref(storage, lambda _: self._release(key, size))
        self.live += size
        if self.live > self.peak:
            self.peak, self.peak_operator = self.live, len(self.operators)

    def _release(self, key: int, size: int) -> None:
        del self._known[key]
        self.live -= size


def _changed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors that an operator changes in place, and those of them that it does not read."""
    changed: list[Tensor] = []
    unread: list[Tensor] = []
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        value = args[position] if position < len(args) else kwargs.get(argument.name)
        tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
        changed += tensors
        if argument.kwarg_only or base_name(func) in UNREAD:
            unread += tensors
    return changed, unread


def _region(tensor: Tensor) -> tuple[Any, ...]:
    """What identifies the memory of a tensor: two views of the same elements are the same region."""
    return id(tensor.untyped_storage()), tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def _bytes(tensor: Tensor) -> int:
    """Bytes of a tensor's distinct elements: an expanded one has as many as before."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    return tensor.element_size() * math.prod(size for size, stride in sizes if stride != 0 or size == 0)
