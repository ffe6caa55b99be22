"""Parameters and their bytes."""

import io

import torch
from torch import nn


def parameter_count(module: nn.Module) -> int:
    """Number of parameter elements, shared parameters counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


def parameter_bytes(module: nn.Module) -> int:
    """Bytes of the parameters in their own dtype, shared parameters counted once."""
    return sum(parameter.nbytes for parameter in module.parameters())


def buffer_bytes(module: nn.Module) -> int:
    """Bytes of the buffers (running statistics and the like)."""
    return sum(buffer.nbytes for buffer in module.buffers())


def saved_bytes(module: nn.Module) -> int:
    """Bytes of the file that `torch.save(module.state_dict(), ...)` writes."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    return file.getbuffer().nbytes
