"""What one run of a step did: its operators, the calls of its modules, and the bytes that were alive."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Operator:
    """One call of one operator. `flops` is `None` where there is no rule for it."""

    index: int
    path: str
    module_type: str
    name: str
    input_shapes: tuple[tuple[int, ...], ...]
    output_shape: tuple[int, ...]
    dtype: str
    flops: int | None
    product_flops: int
    bytes_read: int
    bytes_written: int
    live_before_bytes: int
    live_after_bytes: int

    @property
    def working_set_bytes(self) -> int:
        """Bytes that the operator touches."""
        return self.bytes_read + self.bytes_written

    @property
    def intensity(self) -> float:
        """FLOPs for each byte moved; 0 where there are none, or no rule."""
        return (self.flops or 0) / self.working_set_bytes if self.working_set_bytes else 0.0


@dataclass(frozen=True)
class ModuleCall:
    """One call of one module: its result, and the operators that ran during it, `first` to before `last`."""

    path: str
    module_type: str
    output_shape: tuple[int, ...]
    output_bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Trace:
    """What one run of a step did; views are not among the operators."""

    operators: list[Operator] = field(default_factory=list)
    calls: list[ModuleCall] = field(default_factory=list)
    peak_bytes: int = 0
    peak_operator: int | None = None
    """Index of the operator during which `peak_bytes` were alive first."""

    @property
    def flops(self) -> int:
        """Of all operators that have a rule."""
        return sum(operator.flops or 0 for operator in self.operators)

    @property
    def product_flops(self) -> int:
        """Of convolutions, matrix products and attention alone."""
        return sum(operator.product_flops for operator in self.operators)

    @property
    def bytes_moved(self) -> int:
        """Read and written by all operators."""
        return sum(operator.working_set_bytes for operator in self.operators)

    @property
    def uncounted(self) -> dict[str, int]:
        """Names of the operators that have no rule, with their numbers of calls."""
        return dict(Counter(operator.name for operator in self.operators if operator.flops is None))
