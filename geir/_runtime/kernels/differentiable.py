"""Run everything on the reference loop, whose gradients can be differentiated again."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

SECOND_DERIVATIVES = ContextVar("geir.second_derivatives", default=False)


@contextmanager
def second_derivatives() -> Iterator[None]:
    """A context in which neurons run such that their gradients can be differentiated again.

    Kernels have no second derivative: differentiating their gradient raises `RuntimeError`. In this context every
    neuron runs on the reference loop, `geir.reference`, whose operations PyTorch differentiates as often as needed;
    that of a spike is its surrogate derivative, and the second one the derivative of that. It is entered for the
    forward pass. `geir.learning.adapt` does so where it needs to.

    >>> import geir
    >>> x = torch.full((5, 1), 0.4, requires_grad=True)
    >>> with second_derivatives():
    ...     zs, _ = geir.LIF(surrogate=geir.surrogates.Gaussian())(x)
    >>> (gradient,) = torch.autograd.grad(zs.sum(), x, create_graph=True)
    >>> gradient.square().sum().backward()
    >>> bool(x.grad.abs().sum() > 0)
    True
    """
    token = SECOND_DERIVATIVES.set(True)
    try:
        yield
    finally:
        SECOND_DERIVATIVES.reset(token)


def needs_second_derivatives() -> bool:
    """Whether `second_derivatives` is active. Compiled models are never run in it."""
    return not torch.compiler.is_compiling() and SECOND_DERIVATIVES.get()
