"""model=segmenter: a timm encoder with a decoder. (N, in_channels, H, W) -> (N, num_classes, H, W)."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional

from segbench.base.checks import positive_int
from segbench.blocks.deploy import Deployable
from segbench.models.timm_encoder import TimmModule, features, known


class Segmenter(Deployable):
    """Feature maps at the decoder's strides, the decoder, and a bilinear resize to the input (corners not aligned)."""

    def __init__(
        self,
        encoder: str,
        in_channels: int,
        num_classes: int,
        strides: Sequence[int],
        head: Callable[..., nn.Module],
    ) -> None:
        super().__init__()
        self.encoder, channels = features(encoder, in_channels, strides)
        self.decoder = head(channels=channels, num_classes=positive_int("model.num_classes", num_classes))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.decoder(self.encoder(x))
        if out.shape[2:] == x.shape[2:]:
            return out
        return functional.interpolate(out, size=x.shape[2:], mode="bilinear", align_corners=False)


def library_segmenter(encoder: str, in_channels: int, num_classes: int, architecture: str) -> nn.Module:
    """A network of segmentation-models-pytorch around a timm encoder, without weights.

    Raises `ValueError` with the library's own reason where encoder and decoder do not fit.
    """
    import segmentation_models_pytorch as smp

    known(encoder)
    positive_int("model.num_classes", num_classes)
    network = getattr(smp, architecture)
    try:
        module = network(
            encoder_name=f"tu-{encoder}", encoder_weights=None, in_channels=in_channels, classes=num_classes
        )
    except (ValueError, KeyError, RuntimeError, AttributeError, TypeError, NotImplementedError) as error:
        raise ValueError(f"model.encoder={encoder} does not fit decoder {architecture}: {error}") from error
    return TimmModule(module)


def segmenter(encoder: str, in_channels: int, num_classes: int, decoder: Callable[..., nn.Module]) -> nn.Module:
    """Build the network that the decoder's factory makes around the encoder."""
    return decoder(encoder=encoder, in_channels=in_channels, num_classes=num_classes)
