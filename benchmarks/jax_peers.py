"""Neurons in JAX, as modules from input over time to output over time: geir's LIF as a scan, and Spyx's."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn, Tensor

from .peers import ALPHA, BETA


class Jax(nn.Module):
    """A differentiable function of JAX, compiled by `jax.jit`, called with tensors of PyTorch, which are not copied.

    The forward pass returns what the backward pass needs, so both can be timed as in PyTorch.
    """

    def __init__(self, function: Callable[[Any], Any]):
        super().__init__()
        import jax

        self.function = jax.jit(function)
        self.linearize = jax.jit(lambda xs: jax.vjp(function, xs))
        self.pull_back = jax.jit(lambda gradient, grad_zs: gradient(grad_zs)[0])

    def forward(self, xs: Tensor) -> Tensor:
        if torch.is_grad_enabled() and xs.requires_grad:
            return _Differentiable.apply(xs, self)  # pyright: ignore[reportReturnType]  (untyped in PyTorch)
        return _to_torch(self.function(_to_jax(xs)))


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, xs: Tensor, module: Jax) -> Tensor:
        zs, ctx.gradient = module.linearize(_to_jax(xs))
        ctx.module = module
        return _to_torch(zs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return _to_torch(ctx.module.pull_back(ctx.gradient, _to_jax(grad_outputs[0]))), None


def _to_jax(tensor: Tensor) -> Any:
    import jax

    return jax.dlpack.from_dlpack(tensor.detach().contiguous())


def _to_torch(array: Any) -> Tensor:
    return torch.from_dlpack(array.block_until_ready())


def jax_lif() -> nn.Module:
    """The equations of geir's LIF, exactly integrated, with its reset and its surrogate, in `jax.lax.scan`."""
    import jax
    from jax import numpy as jnp

    @jax.custom_jvp
    def spike(x: Any) -> Any:
        return (x > 0).astype(x.dtype)

    @spike.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        (x,), (tangent,) = primals, tangents
        return spike(x), tangent / (1 + 100 * jnp.abs(x)) ** 2

    # exp(-dt / tau) of the current, 5 ms, and the membrane, 10 ms
    decay_i, decay_v = math.exp(-1 / 5), math.exp(-1 / 10)
    gain = 5 / (5 - 10) * (decay_i - decay_v)

    def step(state: Any, x: Any) -> Any:
        v, i = state
        i = i + x
        v = decay_v * v + gain * i
        z = spike(v - 1)
        return (v * (1 - jax.lax.stop_gradient(z)), decay_i * i), z

    def run(xs: Any) -> Any:
        rest = jnp.zeros_like(xs[0])
        return jax.lax.scan(step, (rest, rest), xs)[1]

    return Jax(run)


def spyx_cubalif() -> nn.Module:
    """Spyx's LIF with a synaptic current. Its membrane sums the current, so its threshold is higher."""
    import spyx
    from flax import nnx
    from jax import numpy as jnp

    scale = 1 / (1 - BETA)
    activation = spyx.axn.superspike(k=100 / scale)
    # The size, here 1, is only needed for the initial state.
    cell = spyx.nn.CuBaLIF((1,), ALPHA, BETA, scale, activation, rngs=nnx.Rngs(0))

    def run(xs: Any) -> Any:
        rest = jnp.zeros((xs.shape[1], 2 * xs.shape[2]))
        return spyx.nn.run(cell, xs, rest)[0]

    return Jax(run)
