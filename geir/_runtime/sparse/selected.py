"""Matrix products of which only some numbers are needed."""

from torch import Tensor

from .. import threads
from ..arguments import fill_structure, Number, Pointer
from . import _gate

_SOURCE = _gate.Source(
    "selected.c",
    [
        Pointer("z", "const real", "(rows, inner)"),
        Pointer("weights", "const real", "(width, inner)"),
        Pointer("needed", "const uint8_t", "(rows, width)"),
        Pointer("out", "real", "(rows, width)"),
        Number("rows"),
        Number("inner"),
        Number("width"),
    ],
)


def can_select(z: Tensor, width: int) -> bool:
    """Whether `add_selected` takes matrices like this one, and they are large enough for it to save time.

    It saves a number of `z.shape[1]` multiplications, which must take longer than finding out that it is not needed.
    """
    large = z.shape[1] >= _gate.MIN_SELECTED_SIZE and z.numel() * width >= _gate.SMALL
    return large and _SOURCE.available(z)


def add_selected(z: Tensor, weights: Tensor, needed: Tensor, out: Tensor) -> None:
    """``out += z @ weights.T`` for contiguous matrices, only where it is needed.

    Args:
        z: Factor, shape (rows, inner).
        weights: Factor, shape (width, inner).
        needed: Booleans, shape (rows, width).
        out: Shape (rows, width).
    """
    rows, inner = z.shape
    tensors = {"z": z, "weights": weights, "needed": needed, "out": out}
    arguments = fill_structure(_SOURCE.structure, {**tensors, "rows": rows, "inner": inner, "width": len(weights)})
    count = _gate.count_threads(z.numel() * len(weights))
    threads.run(_SOURCE.function("add_selected", z.dtype), arguments, 1, count)
