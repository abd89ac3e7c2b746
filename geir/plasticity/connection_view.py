"""Outer products of pre- and postsynaptic activity, in the shape of the weight."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn, Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.func import vjp, vmap

from .._runtime.sparse import linear
from .._util.parametrized import call_with


@dataclass(frozen=True, eq=False)
class ConnectionView:
    r"""The part of a connection that a learning rule needs: products of both sides at every synapse.

    A connection is linear in its weight. The sum of :math:`\text{post}_j \, \text{pre}_i` over all
    places that use the same weight is therefore the vector-Jacobian product of the connection's output
    with `post`. This one definition covers dense layers, convolutions with any stride, padding and
    groups, and connections defined by users.

    Args:
        weight: The weight, shape (out, ...).
        module: The module that uses `weight` as its parameter or buffer of this name. Default: a dense layer.
        keep_samples: Whether to return one result for each sample instead of the mean over the batch.
    """

    weight: Tensor
    module: nn.Module | None = None
    keep_samples: bool = False

    def per_sample(self) -> "ConnectionView":
        """The same view, with one result for each sample."""
        return replace(self, keep_samples=True)

    def outer(self, post: Tensor, pre: Tensor) -> Tensor:
        """The product of `post` and `pre` at every synapse, summed over places that share a weight,
        averaged over the batch.

        Args:
            post: A value for each postsynaptic neuron, shape (batch, *output) or (*output).
            pre: A value for each presynaptic neuron, shape (batch, *input) or (*input).

        Returns:
            The shape of the weight, or (batch, *weight) with `keep_samples`. If one of the factors is
            zero everywhere, the result is a zero without dimensions: most steps have no spikes, and an
            update that is skipped costs nothing.

        Raises:
            ValueError: If the module's output does not have the shape of `post`.
        """
        posts = self._batched(post)
        pres = self._batched(pre)
        if has_concrete_values(post) and not (post.any() and pre.any()):
            return self.weight.new_zeros(())
        module = self.module
        if module is None or type(module) is nn.Linear:
            if self.keep_samples:
                return posts.unsqueeze(2) * pres.unsqueeze(1)
            # `linear` exploits sparse spikes in its first argument.
            return linear((posts / max(1, len(posts))).t(), pres.t())
        if self.keep_samples:
            return vmap(partial(self._weight_vjp, module))(posts, pres)
        return self._weight_vjp(module, posts / max(1, len(posts)), pres)

    def broadcast_post(self, post: Tensor) -> Tensor:
        """A value for each postsynaptic neuron, given to all its synapses; reduced over places and
        batch as in `outer`.

        Returns:
            Broadcastable to the result of `outer`.
        """
        posts = self._batched(post)
        channels = posts.flatten(2).sum(2) if posts.dim() > 2 else posts
        if not self.keep_samples:
            channels = channels.sum(0) / max(1, len(channels))
        return channels.reshape(*channels.shape, *(1,) * (self.weight.dim() - 1))

    def _batched(self, x: Tensor) -> Tensor:
        """All leading dimensions folded into one batch dimension."""
        return x.reshape(-1, *x.shape[1 - self.weight.dim() :])

    def _weight_vjp(self, module: nn.Module, post: Tensor, pre: Tensor) -> Tensor:
        def output_of(weight: Tensor) -> Tensor:
            return call_with(module, {"weight": weight}, pre)

        output, pull_back, *_ = vjp(output_of, self.weight)
        if output.shape != post.shape:
            raise ValueError(
                f"{type(module).__name__} returns shape {tuple(output.shape)}, "
                f"but its postsynaptic neurons have shape {tuple(post.shape)}."
            )
        return pull_back(post)[0]


def has_concrete_values(x: Tensor) -> bool:
    """Whether the values of a tensor can be read in Python, and cheaply: on the CPU, not transformed,
    not being compiled."""
    return x.device.type == "cpu" and not is_functorch_wrapped_tensor(x) and not torch.compiler.is_compiling()
