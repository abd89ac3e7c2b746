"""Half precision: input and output may have it, arithmetic between them may not.

In bfloat16, 257 is not a number, one step of a slow decay is a factor of 1, and random numbers are multiples of 1/256;
in float16, numbers above 65504 are infinite.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

HALF_PRECISION = (torch.float16, torch.bfloat16)


def widen(x: Tensor) -> Tensor:
    """The tensor in float32 if it is in half precision, else the tensor itself; differentiable."""
    return x.float() if x.dtype in HALF_PRECISION else x


def wide_dtype(*dtypes: torch.dtype) -> torch.dtype:
    """The dtype of arithmetic on these: at least float32."""
    widest = torch.float32
    for dtype in dtypes:
        widest = torch.promote_types(widest, dtype)
    return widest


def no_autocast(x: Tensor) -> AbstractContextManager[object]:
    """A context without autocast on the device of `x`; costs nothing where there is none."""
    kind = x.device.type
    active = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if active else nullcontext()


def keep_wide(convert: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The function with which `nn.Module._apply` converts tensors, without conversion to half precision."""

    def converted(tensor: Tensor) -> Tensor:
        result = convert(tensor)
        return tensor.to(result.device, wide_dtype(tensor.dtype)) if result.dtype in HALF_PRECISION else result

    return converted
