"""Refuse what a step may read from tensors and what kernels do not know: data, shapes, and the state of autograd."""

import sys
from collections.abc import Callable, Mapping, Sequence

import torch
from torch.overrides import TorchFunctionMode
from torch.torch_version import TorchVersion

from ..untyped import Untyped
from .program import NotFusableError
from .record import find_place

_DATA = """
__array__ __bool__ __complex__ __contains__ __dlpack__ __float__ __index__ __int__ data_ptr item numpy storage tolist
untyped_storage
"""
_SHAPE = """
__len__ dim element_size is_contiguous itemsize nbytes ndim ndimension nelement numel size storage_offset stride
"""
# Older versions of PyTorch read a shape by its methods, and crash when one raises.
_SHAPES_ARE_TUPLES = TorchVersion(torch.__version__) >= "2.9"
_AUTOGRAD = {"grad", "grad_fn", "is_leaf"}
_DEVICE = {"is_cpu", "is_cuda", "is_meta", "is_mps", "is_xpu"}
_TUPLE_METHODS = """
__add__ __contains__ __eq__ __ge__ __getitem__ __gt__ __hash__ __iter__ __le__ __len__ __lt__ __mul__ __ne__ __radd__
__repr__ __rmul__ __str__ count index numel
"""


class ReadGuard(TorchFunctionMode):
    """While it is active, a step that reads any of these from a tensor raises `NotFusableError`.

    A step is traced on tensors of one shape and with some numbers. A step that decides by the numbers or the shape of
    a tensor would be wrong for all others. A whole shape may be passed on to PyTorch, as in `torch.zeros(x.shape)`.
    geir itself may read shapes, as a cell does that a step calls: it only checks them.
    """

    def __torch_function__(
        self,
        func: Callable[..., Untyped],
        types: Untyped,
        args: Sequence[Untyped] = (),
        kwargs: Mapping[str, Untyped] | None = None,
    ) -> Untyped:
        name = func.__name__
        if name == "__get__":  # of a property
            name = func.__self__.__name__  # pyright: ignore[reportFunctionMemberAccess]  (a method of a descriptor)
        if sys._getframe(1).f_globals.get("__name__", "").startswith("geir.") and name in (*_SHAPE.split(), "shape"):
            return func(*args, **(kwargs or {}))
        if name == "shape" or (name == "size" and len(args) == 1 and not kwargs):
            if not _SHAPES_ARE_TUPLES:
                raise _shape_error()
            return _Shape(func(*args))
        if name in _DATA.split():
            raise NotFusableError(
                f"its step lets Python read the data of a tensor{find_place()}; use torch.where instead of if"
            )
        if name in _SHAPE.split():
            raise _shape_error()
        # Properties only: `torch.autograd.grad` is called `grad` too.
        if func.__name__ == "__get__" and name in _AUTOGRAD | _DEVICE:
            raise NotFusableError(f"its step reads `{name}` of a tensor{find_place()}")
        return func(*args, **(kwargs or {}))


class _Shape(tuple[int, ...]):
    """A shape that PyTorch can read, but Python cannot."""

    @property
    def __class__(self) -> Untyped:  # pyright: ignore[reportIncompatibleMethodOverride]  (it is never set)
        return torch.Size


def _shape_error() -> NotFusableError:
    return NotFusableError(f"its step reads the shape of a tensor{find_place()}")


def _refuse(self: _Shape, *arguments: object) -> object:
    raise _shape_error()


for _name in _TUPLE_METHODS.split():
    setattr(_Shape, _name, _refuse)
