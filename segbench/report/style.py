"""One look for all plots: figures without a display, scales, legends, and a look of its own for every series."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segbench.report.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#7f6a00", "#333333")
"""Okabe and Ito's palette, told apart by colour-blind readers; yellow, which white swallows, is darkened."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "//", "..", "xx", "\\\\", "oo", "--", "++")
KNOWN = (
    "dw", "stm", "faststm", "jeongwon", "cmunext", "repconv", "inverted_bottleneck", "prcm",
    "scale", "affine", "se", "se_affine", "basis_expand", "adaptive_pool", "none", "conv_stem",
    "baseline", "autocast", "compile", "autocast_compile",
    "train", "deploy", "fpn", "unet",
    "mobileone", "mobilenetv4", "mobilenetv3", "mobilenetv2", "resnet", "regnetx", "regnety", "repvgg",
    "lcnet", "ghostnetv2", "densenet", "vit", "efficientnet", "convnext", "edgenext", "poolformer", "tinynet",
)  # fmt: skip
"""Names with a look of their own; others take the next ones, in alphabetical order."""


@dataclass(frozen=True)
class Look:
    """How a series is drawn; in grey the marker, the line and the hatch tell it."""

    colour: str
    marker: str
    line: str
    hatch: str


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name; names like `dw, form=train` share the colour of `dw`.

    Up to 64 names of one plot never share both colour and marker.
    """
    heads, tails = ({name: name.partition(", ")[part] for name in names} for part in (0, 2))
    known = [*KNOWN, *sorted(set(heads.values()) - set(KNOWN))]
    variants = list(dict.fromkeys(tails.values()))
    return {name: _look(known.index(heads[name]), variants.index(tails[name])) for name in names}


def _look(index: int, variant: int) -> Look:
    other = index + index // len(COLOURS) + variant
    return Look(
        COLOURS[index % len(COLOURS)],
        MARKERS[other % len(MARKERS)],
        LINES[other % len(LINES)],
        HATCHES[other % len(HATCHES)],
    )


def new_figure(width: float, height: float) -> "tuple[Figure, Axes]":
    """A figure that needs no display and leaves no trace in pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def log_scales(axes: "Axes", names: Iterable[str]) -> None:
    """Make the axes `x` or `y` logarithmic, with plain numbers beside them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for name in names:
        axes.set(**{f"{name}scale": "log"})
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # powers of ten alone leave short axes bare
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.set_minor_formatter(NullFormatter())


def error_bars(found: Sequence[Estimate]) -> NDArray[np.float64]:
    """How far the intervals reach below and above their figures."""
    return np.array([[abs(estimate.value - estimate.bounds[end]) for estimate in found] for end in (0, 1)])


def legend(axes: "Axes", outside: bool = False) -> None:
    """Name the series where there are several, in a free corner or beside the plot."""
    beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(fontsize=8, frameon=False, **(beside if outside else {}))
