"""Products with spikes, by way of those that are there."""

import ctypes
import functools
from importlib.resources import files

import torch
from torch import Tensor

from . import native

# Below this share of firing neurons, gathering the rows of those that fire is faster than a matrix product.
SPARSE = 0.15


@functools.cache
def _library(dtype: torch.dtype) -> ctypes.CDLL:
    text = files("geir").joinpath("sparse.c").read_text()
    return native.load(text.replace("{{double}}", str(int(dtype == torch.float64))))


def add_product(z: Tensor, weights: Tensor, out: Tensor) -> None:
    """``out += z @ weights``, by way of the spikes in `z` if they are few. All are matrices, all but `z` contiguous."""
    rows, inner = z.shape
    if z.device.type != "cpu" or _share(z) > SPARSE:
        out.addmm_(z, weights)
        return
    width = weights.shape[1]
    threads = 1 if z.numel() * width < 1 << 20 else torch.get_num_threads()
    native.call(_library(z.dtype).add_product, [z, weights, out], [rows, inner, width, *z.stride()], min(32, max(1, rows // (4 * threads))), threads)


def _share(z: Tensor) -> float:
    """Which share of some of the numbers is not zero."""
    some = z[:: max(1, len(z) // 64)]
    return some.count_nonzero().item() / max(1, some.numel())
