"""One look for all plots: figures without a display, scales, legends, and a look of its own for every series."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

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


class Look(NamedTuple):
    """How a series is drawn; in grey the marker, the line and the hatch tell it."""

    colour: str
    marker: str
    line: str
    hatch: str


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name; names like `dw, form=train` share the colour of `dw`.

    Up to 64 names of one plot never share both colour and marker.
    """
    split = {name: name.partition(", ") for name in names}
    known = [*KNOWN, *sorted({head for head, *_ in split.values()} - set(KNOWN))]
    variants = list(dict.fromkeys(tail for *_, tail in split.values()))
    found = {}
    for name, (head, _, tail) in split.items():
        index = known.index(head)
        other = index + index // len(COLOURS) + variants.index(tail)
        found[name] = Look(
            COLOURS[index % len(COLOURS)], *(each[other % len(each)] for each in (MARKERS, LINES, HATCHES))
        )
    return found


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


def legend(axes: "Axes", outside: bool = False) -> None:
    """Name the series where there are several, in a free corner or beside the plot."""
    beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(fontsize=8, frameon=False, **(beside if outside else {}))
