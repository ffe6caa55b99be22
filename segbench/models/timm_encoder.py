"""timm encoders: by name, without weights, with their head or as a pyramid of feature maps.

timm is imported when the first encoder is built. Source: PyTorch Image Models (Wightman 2019).
"""

import difflib
import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from segbench.base.checks import positive_int
from segbench.base.errors import UnsupportedError


class TimmModule(nn.Module):
    """A timm module that is re-parameterised by timm itself."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.deployed = False

    def forward(self, x: Tensor) -> Any:
        return self.net(x)

    def switch_to_deploy(self) -> None:
        """Fuse what timm can fuse, in place. Idempotent."""
        from timm.utils import reparameterize_model

        if not self.deployed:
            self.net = reparameterize_model(self.net, inplace=True)
            self.deployed = True


def classifier(encoder: str, in_channels: int, num_classes: int) -> TimmModule:
    """model=encoder: the encoder with its classification head. (N, in_channels, H, W) -> (N, num_classes)."""
    positive_int("model.num_classes", num_classes)
    return TimmModule(_create(encoder, in_chans=in_channels, num_classes=num_classes))


def features(encoder: str, in_channels: int, strides: Sequence[int]) -> tuple[TimmModule, list[int]]:
    """The encoder's maps at `strides`, shallow to deep, and their channels.

    Raises `UnsupportedError` where the encoder has no map at one of the strides.
    """
    timm = _timm()
    known(encoder)
    try:
        pyramid = timm.create_model(encoder, pretrained=False, features_only=True)
    except (RuntimeError, AttributeError, NotImplementedError, TypeError) as error:
        raise UnsupportedError(f"model.encoder={encoder} gives no feature maps ({error}): use model=encoder") from error
    info = pyramid.feature_info
    found = list(info.reduction())
    missing = [stride for stride in strides if stride not in found]
    if missing:
        raise UnsupportedError(
            f"model.encoder={encoder} has maps at strides {found}, but this decoder needs {list(strides)}"
        )
    indices = [len(found) - 1 - found[::-1].index(stride) for stride in strides]
    net = _create(encoder, in_chans=in_channels, features_only=True, out_indices=indices)
    return TimmModule(net), [info.channels()[index] for index in indices]


def _create(encoder: str, in_chans: int, **options: Any) -> nn.Module:
    timm = _timm()
    known(encoder)
    positive_int("in_channels", in_chans)
    attempts = [{"dynamic_img_size": True}, {}] if _is_transformer(encoder) else [{}]
    for more in attempts:
        try:
            module: nn.Module = timm.create_model(encoder, pretrained=False, in_chans=in_chans, **options, **more)
            return module
        except TypeError as error:
            if "dynamic_img_size" not in str(error):
                raise
        except RuntimeError as error:
            raise ValueError(f"model.encoder={encoder} cannot be built: {' '.join(str(error).split())}") from error
    raise UnsupportedError(f"model.encoder={encoder} cannot be built by timm")


def _is_transformer(encoder: str) -> bool:
    """Whether the encoder may take any image size if it is asked to (`dynamic_img_size`)."""
    from timm.models import model_entrypoint

    module: str = model_entrypoint(encoder.partition(".")[0]).__module__.rpartition(".")[2]
    return module.startswith(("vision_transformer", "deit", "eva"))


def _timm() -> Any:
    """timm, imported without the deprecation notes of what it imports: they are not the user's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import timm
    return timm


def known(encoder: str) -> None:
    """Raise `ValueError` with the nearest names where timm has no such encoder."""
    timm = _timm()
    if timm.is_model(encoder):
        return
    nearest = difflib.get_close_matches(encoder, timm.list_models(), n=5)
    hint = f"the nearest are {', '.join(nearest)}" if nearest else "see timm.list_models()"
    raise ValueError(f"model.encoder={encoder} is not an encoder of timm: {hint}")
