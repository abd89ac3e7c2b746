"""A model for online learning: its layers, and the modules after them."""

from typing import Any, NamedTuple

import torch
from torch import nn, Tensor
from torch.nn import functional
from torch.nn.utils.parametrize import type_before_parametrizations

from ..core.neuron import Dynamics
from ..wrappers import RecurrentMixin
from .rules import Adaptive, EProp, OnlineRule


class Layer(NamedTuple):
    """Weights and the neurons behind them."""

    name: str  # of the neurons in the model
    neuron: Dynamics
    # With the weights of this moment if these are parametrized. None: a recurrent layer, which has its weights.
    connection: nn.Linear | nn.Conv2d | None
    before: list[nn.Module]  # modules without parameters before the weights

    @property
    def recurrent(self) -> bool:
        return isinstance(self.neuron, RecurrentMixin)

    @property
    def channel(self) -> int:
        """The dimension of the neurons' input in which neurons do not share weights."""
        return -3 if isinstance(self.connection, nn.Conv2d) else -1

    @property
    def size(self) -> int:
        """Number of neurons, or of channels of a convolution."""
        if isinstance(self.neuron, RecurrentMixin):
            return self.neuron.hidden_size
        connection: Any = self.connection
        return connection.out_channels if self.channel == -3 else connection.out_features

    def weights(self) -> list[Tensor]:
        """Parts of the weights, each (neurons, inputs), in the order of `drive`."""
        if not isinstance(self.neuron, RecurrentMixin):
            return _matrices(self.connection)
        matrix, _ = self.neuron.prepare()
        recurrent = self.neuron.recurrent_weights
        # The recurrent weights come last.
        feedback = [matrix] if matrix is not None else _matrices(recurrent)[::-1]
        return [*_matrices(self.neuron.input_weights), *feedback]

    def current(self, x: Tensor) -> Tensor:
        """The input of the neurons without recurrent feedback."""
        if self.connection is None:
            return self.neuron.transform_input(x, over_time=False)
        return self.connection(x)

    def drive(self, x: Tensor, z: Tensor | None) -> Tensor:
        """The factors of the weights: input, 1 for a bias, and the last output of a recurrent layer."""
        if isinstance(self.connection, nn.Conv2d):
            x = _patches(self.connection, x)
        ones = torch.ones_like(x[..., :1])
        if not isinstance(self.neuron, RecurrentMixin):
            return torch.cat([x, *[ones for _ in _matrices(self.connection)[1:]]], -1)
        assert z is not None  # part of the state of a recurrent layer
        given = [self.neuron.input_weights, self.neuron.recurrent_weights]
        biases = [w for w in given if isinstance(w, nn.Linear) and w.bias is not None]
        return torch.cat([x, *[ones for _ in biases], z.to(x.dtype)], -1)


def _matrices(weights: Any) -> list[Tensor]:
    if isinstance(weights, Tensor):
        return [weights]
    bias = [] if weights.bias is None else [weights.bias[:, None]]
    return [weights.weight.flatten(1), *bias]


def _patches(connection: nn.Conv2d, x: Tensor) -> Tensor:
    """The inputs of every place of a convolution, (batch, height, width, inputs)."""
    k, s, p, d = connection.kernel_size, connection.stride, connection.padding, connection.dilation
    assert not isinstance(p, str)  # as checked when the model was parsed
    patches = functional.unfold(x, k, d, p, s)
    height = (x.shape[-2] + 2 * p[0] - d[0] * (k[0] - 1) - 1) // s[0] + 1
    return patches.unflatten(-1, (height, -1)).movedim(1, -1)


class Plan(NamedTuple):
    """A model as layers and the modules after the last of them."""

    layers: list[Layer]
    head: list[nn.Module]

    @property
    def after_weights(self) -> int:
        """The place in the head after its last weights; 0 if it has none, so that the last layer is the output."""
        return max((k + 1 for k, module in enumerate(self.head) if is_connection(module)), default=0)

    def filtered(self, rule: OnlineRule) -> bool:
        """Whether the last layer is a readout without spikes that filters eligibilities."""
        return rule.filters and len(self.layers) > 1 and not self.after_weights and not self.layers[-1].neuron.spiking

    def hidden(self) -> list[Layer]:
        """The layers below the output."""
        return self.layers if self.after_weights else self.layers[:-1]


def is_connection(module: nn.Module | None) -> bool:
    """Whether a module holds weights that online learning can train."""
    return module is not None and type_before_parametrizations(module) in (nn.Linear, nn.Conv2d)


def feedback_size(plan: Plan) -> int:
    """Number of outputs of a model."""
    connections = [module for module in plan.head if isinstance(module, nn.Linear)]
    return connections[-1].out_features if connections else plan.layers[-1].size


def is_adaptive(rule: OnlineRule) -> bool:
    """Whether the feedback weights of the rule learn."""
    return isinstance(rule, EProp) and isinstance(rule.feedback, Adaptive)
