"""Choose how a run is called."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack

from .differentiable import SECOND_DERIVATIVES

# Looked up once: a call would look them up in memory that is in no cache.
_dispatch_modes, _forward_ad = torch._C._len_torch_dispatch_stack, torch.autograd.forward_ad


class Route(NamedTuple):
    """How to call a run."""

    functional: bool  # by the autograd function for function transforms, instead of the faster old-style one
    operator: bool  # by PyTorch's dispatcher, instead of calling the implementation directly


def is_special() -> bool:
    """Whether a transform, a dispatch mode, forward mode or `second_derivatives` is active; not while compiling."""
    return (
        peek_interpreter_stack() is not None
        or _dispatch_modes() > 0
        or _forward_ad._current_level >= 0
        or SECOND_DERIVATIVES.get()
    )


def dispatch(xs: Tensor) -> Route:
    """Choose the route of a call.

    | situation                             | function   | implementation | why                                |
    |---------------------------------------|------------|----------------|------------------------------------|
    | `torch.compile`, `torch.export`       | old style  | operator       | the operator is a node of a graph  |
    | `torch.func` transforms               | functional | see next rows  | they need `setup_context`, `vmap`  |
    | a dispatch mode, a subclass of Tensor | old style  | operator       | mode and subclass must see it      |
    | gradients are disabled                | none       | direct         | autograd has nothing to record     |
    | otherwise                             | old style  | direct         | saves the overhead of dispatching  |

    An old-style function saves tensors in `forward(ctx, ...)`. It is called faster than a functional one, and
    `torch.compile` traces it.
    """
    compiling = torch.compiler.is_compiling()
    functional = not compiling and peek_interpreter_stack() is not None
    return Route(functional, compiling or type(xs) is not Tensor or torch._C._len_torch_dispatch_stack() > 0)
