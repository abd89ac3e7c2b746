"""Spiking neurons with liquid time constants, which depend on input and state."""

import math
from typing import Literal, NamedTuple

import torch
from torch import nn, Tensor

from .._util.state import state_type
from .._util.validation import check_integer, check_positive, Input, unwrap_output
from ..surrogates import MultiGaussian
from .gated import GatedLayer, Surrogate

SURROGATE = MultiGaussian(sigma=0.3)


@state_type
class SpikingLTCState(NamedTuple):
    """State of `SpikingLTC`."""

    h: Tensor  # output spikes
    v: Tensor  # membrane potential
    b: Tensor  # adaptation of the threshold


class SpikingLTC(GatedLayer):
    r"""Recurrent layer of spiking neurons with liquid time constants, which depend on input and state.

    .. math::
        I_t &= W x_t + U z_{t-1} + c, \\
        g_t &= \sigma\left(A_v v_{t-1} + A_I I_t + a\right), & u_t &= v_{t-1} + g_t \odot (I_t - v_{t-1}), \\
        r_t &= \sigma\left(R_b b_{t-1} + R_I I_t + r\right), & b_t &= r_t \odot b_{t-1} + (1 - r_t) \odot z_{t-1}, \\
        z_t &= \Theta\left(u_t - v_\text{th} - \beta b_t\right), & v_t &= (1 - z_t) \odot u_t

    The gate :math:`g = \Delta t / \tau_\text{mem}` opens and closes the membrane, :math:`r` is the decay of the
    adaptation in one step. A closed gate keeps a potential, and away from the threshold its gradient, for any time.

    The gates of a neuron depend on the potentials of all, by the matrices :math:`A_v` and :math:`R_b`. The step is
    therefore not elementwise: it is no `geir.Neuron`, has no kernel, and steps through time in a loop of PyTorch's
    operations. `SpikingLTCCell` is one step.

    Reference: B. Yin, F. Corradi & S. Bohté, *Accurate online training of dynamical spiking neural networks through
    Forward Propagation Through Time*, 2023.

    Args:
        input_size: Number of inputs.
        hidden_size: Number of neurons.
        v_th: Threshold without adaptation.
        beta: Strength of adaptation; without it, 0, there are no weights of its gate.
        surrogate: Threshold function, from the distance to threshold to spikes, with its surrogate derivative.

    Raises:
        TypeError: If `surrogate` is not callable.
        ValueError: If a size is not a positive integer, `v_th` is not positive, or `beta` is negative.

    >>> layer = SpikingLTC(3, 5)
    >>> zs, state = layer(torch.rand(20, 2, 3))
    >>> zs.shape, state.v.shape
    (torch.Size([20, 2, 5]), torch.Size([2, 5]))
    """

    state = SpikingLTCState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        v_th: float = 0.1,
        beta: float = 1.8,
        surrogate: Surrogate = SURROGATE,
    ):
        name = type(self).__name__
        check_integer(name, minimum=1, input_size=input_size, hidden_size=hidden_size)
        check_positive(name, v_th=v_th)
        if not 0 <= beta < math.inf:
            raise ValueError(f"{name}.beta must be at least 0 and finite, got {beta}.")
        weights = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size, bias=False)
        super().__init__(*weights, surrogate, hidden_size, "(time, batch, features)")
        self.v_th, self.beta = v_th, beta
        # Weights of potential or adaptation, then of the current.
        self.membrane_gate = nn.Linear(2 * hidden_size, hidden_size)
        self.adaptation_gate = nn.Linear(2 * hidden_size, hidden_size) if beta else None

    def extra_repr(self) -> str:
        return f"v_th={self.v_th}, beta={self.beta}"

    def _step(self, x: Tensor, state: SpikingLTCState) -> SpikingLTCState:
        z, v, b = state
        current = x + self.recurrent_weights(z)
        gate = torch.sigmoid(self.membrane_gate(torch.cat([v, current], 1)))
        v = v + gate * (current - v)
        if self.adaptation_gate is not None:
            decay = torch.sigmoid(self.adaptation_gate(torch.cat([b, current], 1)))
            b = decay * b + (1 - decay) * z
        z = self.surrogate(v - self.v_th - self.beta * b)
        return SpikingLTCState(h=z, v=(1 - z) * v, b=b)


class SpikingLTCCell(SpikingLTC):
    """One step of `SpikingLTC`."""

    def time_role(self) -> Literal["step"]:
        """It takes one step."""
        return "step"

    def forward(self, xs: Input, state: SpikingLTCState | None = None) -> tuple[Tensor, SpikingLTCState]:
        """Advance by one step.

        Args:
            xs: Input, shape (batch, features), or the previous module's `(output, state)` tuple.
            state: State to continue from. Default: zeros.

        Returns:
            Output, shape (batch, hidden_size), and the state after the step.

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or `state` is not a state of this cell.
            ValueError: If `xs` or a part of `state` has another shape.
        """
        x = unwrap_output(type(self).__name__, xs)
        if x.dim() != 2:
            raise ValueError(f"{type(self).__name__} expected input of shape (batch, features), got {tuple(x.shape)}.")
        zs, after = super().forward(x[None], state)
        return zs[0], after
