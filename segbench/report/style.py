"""One look for every series: the same colour, marker, line and hatch for the same block or family in every plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
"""Names with a place of their own; others take the next ones, in alphabetical order."""


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
    heads = [name.partition(", ")[0] for name in names]
    tails = list(dict.fromkeys(name.partition(", ")[2] for name in names))
    unknown = sorted(set(heads) - set(KNOWN))
    places = {head: (*KNOWN, *unknown).index(head) for head in heads}
    return {
        name: _look(places[head], tails.index(name.partition(", ")[2])) for name, head in zip(names, heads, strict=True)
    }


def _look(place: int, variant: int) -> Look:
    other = place + place // len(COLOURS) + variant
    return Look(
        COLOURS[place % len(COLOURS)],
        MARKERS[other % len(MARKERS)],
        LINES[other % len(LINES)],
        HATCHES[other % len(HATCHES)],
    )
