"""Products of what lies before and behind a connection, in the shape of its weight."""

from dataclasses import dataclass, replace

import torch
from torch import nn, Tensor
from torch.func import functional_call, vjp, vmap

from .._runtime.sparse import linear


@dataclass(frozen=True, eq=False)
class Synapses:
    """The synapses of a connection: what a rule needs to know of it.

    A connection is linear in its weight, so the sum of :math:`\\text{post}_j \\, \\text{pre}_i` over all places where a weight is used is the
    vector-Jacobian product of its output with `post`: one definition for dense layers, convolutions of any stride, padding and groups, and others.

    Args:
        weight: The weight, shape (out, ...).
        connection: The module that uses it as `weight`. Default: a dense layer.
        each: Keep samples apart instead of averaging over them.
    """

    weight: Tensor
    connection: nn.Module | None = None
    each: bool = False

    def apart(self) -> "Synapses":
        """The same with samples kept apart."""
        return replace(self, each=True)

    def outer(self, post: Tensor, pre: Tensor) -> Tensor:
        """The product of `post` and `pre` at every synapse, summed over the places that share a weight, averaged over the batch.

        Args:
            post: A quantity of each neuron behind, shape (batch, *output) or (*output).
            pre: A quantity of each neuron before, shape (batch, *input) or (*input).

        Returns:
            Shape of the weight; (batch, *weight) if samples are kept apart; a zero without dimensions if one factor is zero everywhere.
        """
        posts, pres = self._samples(post), self._samples(pre)
        if concrete(post) and not (post.any() and pre.any()):
            return self.weight.new_zeros(())
        if self.each:
            return posts.unsqueeze(2) * pres.unsqueeze(1) if self._dense else vmap(self._pulled)(posts, pres)
        posts = posts / max(1, len(posts))
        # By way of the spikes in `post`, if they are few.
        return linear(posts.t(), pres.t()) if self._dense else self._pulled(posts, pres)

    def spread(self, post: Tensor) -> Tensor:
        """A quantity of each neuron behind, given to all its synapses; reduced as in `outer`.

        Returns:
            Broadcastable to the shape of `outer`.
        """
        posts = self._samples(post)
        places = posts.flatten(2).sum(2) if posts.dim() > 2 else posts
        channels = places if self.each else places.sum(0) / max(1, len(places))
        return channels.reshape(*channels.shape, *(1,) * (self.weight.dim() - 1))

    def _samples(self, x: Tensor) -> Tensor:
        return x.reshape(-1, *x.shape[1 - self.weight.dim() :])

    @property
    def _dense(self) -> bool:
        return self.connection is None or type(self.connection) is nn.Linear

    def _pulled(self, post: Tensor, pre: Tensor) -> Tensor:
        connection = self.connection
        assert connection is not None
        output, pull, *_ = vjp(lambda weight: functional_call(connection, {"weight": weight}, (pre,)), self.weight)
        if output.shape != post.shape:
            raise ValueError(
                f"{type(connection).__name__} gives shape {tuple(output.shape)}, but what is behind it has {tuple(post.shape)}."
            )
        return pull(post)[0]


def concrete(x: Tensor) -> bool:
    """Whether one can look at its numbers, and cheaply."""
    transformed = torch._C._functorch.is_functorch_wrapped_tensor(x)  # pyright: ignore[reportAttributeAccessIssue]  (not in its stubs)
    return x.device.type == "cpu" and not transformed and not torch.compiler.is_compiling()
