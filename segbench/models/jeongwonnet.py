"""JeongWonNet: a U-shape of six encoder and five decoder blocks. (N, in_channels, H, W) -> (N, num_classes, H, W).

Encoder: a block for each of the six widths, a 2 x 2 max-pool after each but the last. Decoder: blocks back through
the widths; the first works at the lowest resolution, the outputs of the others are resized x 2; after each, the
encoder's map of the same size (after its pool) is added. Then a 1 x 1 convolution with bias, resized x 2. All resizing
is bilinear with corners aligned. H and W must be multiples of 32. A block that cannot take the image's channels gets
a stem (conv1x1 -> BN -> ReLU) before it. With `deep_supervision` every decoder sum has a 1 x 1 head with bias, resized
to the input: in training mode the result is (heads, map), deepest head first, in eval mode the map alone.
`early_downsampling` averages the image over so many pixels each way first; then H and W must be multiples of as many
times 32, and the maps are resized to the image all the same.
Source: the JeongWonNet family of notebooks.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from segbench.base.checks import boolean, list_of_positive, multiple_of, positive_int
from segbench.base.errors import OddError
from segbench.blocks.conv import conv1x1_bn_relu
from segbench.blocks.deploy import Deployable
from segbench.models import BlockFactory

STAGES = 6
STRIDE = 32


class JeongWonNet(Deployable):
    """The U-shape around any block that can change its width."""

    def __init__(
        self,
        block: BlockFactory,
        widths: Sequence[int],
        in_channels: int,
        num_classes: int,
        deep_supervision: bool,
        early_downsampling: int,
    ) -> None:
        super().__init__()
        self.downsampling = positive_int("model.early_downsampling", early_downsampling)
        self.downsample = nn.AvgPool2d(early_downsampling) if early_downsampling > 1 else nn.Identity()
        widths = list_of_positive("model.widths", widths, STAGES)
        _require_changing_width(block)
        ins = [in_channels, *widths[:-1]]
        self.stem, first = _first_block(block, widths[0], in_channels)
        rest = [block(channels=out, in_channels=width) for width, out in zip(ins[1:], widths[1:], strict=True)]
        self.encoder = nn.ModuleList([first, *rest])
        self.pool = nn.MaxPool2d(2)
        outs = widths[-2::-1]
        self.decoder = nn.ModuleList(
            [block(channels=out, in_channels=width) for width, out in zip(widths[:0:-1], outs, strict=True)]
        )
        positive_int("model.num_classes", num_classes)
        self.head = nn.Conv2d(widths[0], num_classes, kernel_size=1)
        supervised = outs if boolean("model.deep_supervision", deep_supervision) else []
        heads = [nn.Conv2d(width, num_classes, kernel_size=1) for width in supervised]
        self.heads = nn.ModuleList(heads)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor | tuple[list[Tensor], Tensor]:
        size = x.shape[2:]
        multiple_of(STRIDE * self.downsampling, size)
        skips: list[Tensor] = []
        x = self.stem(self.downsample(x))
        for block in self.encoder[:-1]:
            x = self.pool(block(x))
            skips.append(x)
        x = self.encoder[-1](x)

        sums: list[Tensor] = []
        for depth, block in enumerate(self.decoder):
            x = block(x)
            if depth > 0:
                x = _resize(x, skips[-1 - depth].shape[2:])
            x = x + skips[-1 - depth]
            sums.append(x)
        out = _resize(self.head(x), size)
        if self.training and len(self.heads) > 0:
            return [_resize(head(x), size) for head, x in zip(self.heads, sums, strict=True)], out
        return out


def _require_changing_width(block: BlockFactory) -> None:
    """Raise `ValueError` where the block keeps its width, even if the widths asked for happen to be equal."""
    with torch.random.fork_rng(devices=[]):
        try:
            block(channels=4, in_channels=2)
        except ValueError as error:
            raise ValueError(f"model=jeongwonnet needs a block that can change its width: {error}") from error


def _first_block(block: BlockFactory, channels: int, in_channels: int) -> tuple[nn.Module, nn.Module]:
    """The first stage and the stem before it, the identity where the block takes the image's channels itself."""
    try:
        return nn.Identity(), block(channels=channels, in_channels=in_channels)
    except OddError:
        return conv1x1_bn_relu(in_channels, channels), block(channels=channels, in_channels=channels)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def initialise(module: nn.Module) -> None:
    """Convolutions: normal, std sqrt(2 / (k^2 * out / groups)), bias 0. Linears: truncated normal, std 0.02.

    Norms: 1 and 0. The basis vectors of a PRCM keep their standard-normal values.
    """
    if isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels / module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
        nn.init.ones_(module.weight)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
