"""Differentiable plasticity: connections with fixed and plastic weights, both learned by gradients."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn, Tensor

from .._util.precision import widen
from .._util.state import AnyState, state_type
from .._util.validation import unwrap_output
from ..core.neuron import Dynamics
from ..core.parameters import Declared, Parameter, parameter, setting
from ..wrappers import CellMixin

# From the Hebbian trace (..., n_out, n_in), pre- (..., n_in) and postsynaptic activity (..., n_out) and the rate to the
# next trace.
HebbianRule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def hebb(trace: Tensor, pre: Tensor, post: Tensor, eta: Tensor) -> Tensor:
    r"""A decaying average, :math:`H \leftarrow (1 - \eta) H + \eta\, y x^\top`."""
    return trace + eta * (post.unsqueeze(-1) * pre.unsqueeze(-2) - trace)


def oja(trace: Tensor, pre: Tensor, post: Tensor, eta: Tensor) -> Tensor:
    r"""Oja's rule, :math:`H \leftarrow H + \eta\, y (x - y H)`: without postsynaptic activity nothing is forgotten."""
    post = post.unsqueeze(-1)
    return trace + eta * post * (pre.unsqueeze(-2) - post * trace)


@state_type
class HebbianState(NamedTuple):
    """State of `HebbianLayer`."""

    neuron: AnyState  # state of the neurons
    trace: Tensor  # Hebbian trace, shape (..., n_out, n_in)
    pre: Tensor  # filtered presynaptic spikes, shape (..., n_in)
    post: Tensor  # filtered postsynaptic spikes, shape (..., n_out)
    z: Tensor  # last output, shape (..., n_out)


class HebbianLayer(Declared):
    r"""Differentiable plasticity: a layer whose weights have a fixed part and one that changes while it runs.

    The input of the neurons is

    .. math:: I_t = \left( W + \alpha \circ H_t \right) x_t + b;

    the Hebbian trace :math:`H`, one for each sample, starts at zero and follows from filtered spikes,

    .. math::
        \bar x_t = e^{-\Delta t / \tau} \bar x_{t-1} + x_t, \qquad
        \bar z_t = e^{-\Delta t / \tau} \bar z_{t-1} + z_t, \qquad
        H_{t+1} = (1 - \eta) H_t + \eta\, \bar z_t \bar x_t^\top.

    Backpropagation through time trains :math:`W`, :math:`b`, :math:`\alpha` and :math:`\eta`, so that the layer learns
    from its input, without a gradient, when it is used. With :math:`\alpha = 0` it is an ordinary layer.

    With ``recurrent=True`` the layer connects its neurons to one another: :math:`I_t = x_t + (W + \alpha \circ H_t)
    z_{t-1} + b`, and :math:`z_{t-1}` takes the place of :math:`x_t` in the trace.

    Reference: T. Miconi, J. Clune & K. Stanley, *Differentiable plasticity: training plastic neural networks with
    backpropagation*, 2018.

    Args:
        connection: The fixed part, with the weight :math:`W`, shape (n_out, n_in), and the bias :math:`b`.
        neuron: The neurons, over time, such as ``LIF()``.
        recurrent: Whether the output is the input of the connection.
        rule: `hebb`, `oja`, or a function of trace, pre- and postsynaptic activity and rate that returns the next
            trace.

    Raises:
        TypeError: If `connection` is not a linear layer, or `neuron` is not a neuron over time.
        ValueError: If a recurrent connection is not square.

    >>> from geir import LIF
    >>> layer = HebbianLayer(nn.Linear(20, 10), LIF())
    >>> zs, state = layer(torch.rand(50, 8, 20))
    >>> zs.shape, state.trace.shape
    (torch.Size([50, 8, 10]), torch.Size([8, 10, 20]))
    """

    connection: nn.Linear = setting(kw_only=False, accepts=nn.Linear, expected="a linear layer, nn.Linear(2, 3)")
    neuron: Dynamics = setting(kw_only=False, accepts=Dynamics, expected="a neuron, such as LIF()")
    eta: Parameter = parameter(
        default=0.02, above=0.0, below=1.0, learnable=True, doc="rate at which the trace follows activity"
    )
    tau: Parameter = parameter(
        default=20e-3, unit="s", at_least=0.0, doc="time constant of filtered spikes; 0 for none"
    )
    recurrent: bool = False
    rule: HebbianRule = setting(default=hebb, accepts=Callable, expected="a rule, such as geir.learning.oja")

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.neuron, CellMixin) or self.neuron.record_states:
            raise TypeError(
                f"HebbianLayer takes a neuron over time that does not record states, such as LIF(), got {self.neuron}."
            )
        n_out, n_in = self.connection.weight.shape
        if self.recurrent and n_out != n_in:
            raise ValueError(
                f"HebbianLayer: a recurrent connection must be square, got {n_in} inputs and {n_out} outputs."
            )
        # Declared here: an annotation in the class would be an argument to type checkers.
        self.alpha = nn.Parameter(0.01 * torch.randn(n_out, n_in))

    def initial_state(self, x: Tensor) -> HebbianState:
        """The state before the first step.

        Args:
            x: One step of input, shape (..., n_in).
        """
        n_out, n_in = self.connection.weight.shape
        current = x.new_zeros(*x.shape[:-1], n_out)
        # Traces change in steps too small for half precision.
        wide = widen(current)
        return HebbianState(
            neuron=self.neuron.initial_state(current),
            trace=wide.new_zeros(*x.shape[:-1], n_out, n_in),
            pre=wide.new_zeros(*x.shape[:-1], n_in),
            post=wide,
            z=current,
        )

    def forward(
        self, xs: Tensor | tuple[Tensor, object], state: HebbianState | None = None
    ) -> tuple[Tensor, HebbianState]:
        """Run over time.

        Args:
            xs: Input, shape (time, ..., n_in), or the previous module's `(output, state)` tuple; its state is ignored.
            state: State to continue from. Default: neurons at rest, no trace.

        Returns:
            Output, shape (time, ..., n_out), and the state after the last step.

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or `state` is not a `HebbianState`.
            ValueError: If `xs` or the trace has another shape.
        """
        inputs = unwrap_output("HebbianLayer", xs)
        state = self._start(inputs, state)
        zs = []
        for x in inputs.unbind():
            state = self._step(x, state)
            zs.append(state.z)
        return torch.stack(zs), state

    def _start(self, xs: Tensor, state: HebbianState | None) -> HebbianState:
        width = self.connection.in_features
        if xs.dim() < 2 or not len(xs) or xs.shape[-1] != width:
            raise ValueError(
                f"HebbianLayer expected input of shape (time, ..., {width}) with at least one step, got "
                f"{tuple(xs.shape)}."
            )
        initial = self.initial_state(xs[0])
        if state is None:
            return initial
        if not isinstance(state, HebbianState):
            raise TypeError(f"HebbianLayer expected a HebbianState, got {type(state).__name__}.")
        if state.trace.shape != initial.trace.shape:
            raise ValueError(
                f"HebbianState.trace has shape {tuple(state.trace.shape)}, but this input needs "
                f"{tuple(initial.trace.shape)}."
            )
        return state

    def _step(self, x: Tensor, state: HebbianState) -> HebbianState:
        source = state.z if self.recurrent else x
        plastic = ((self.alpha * state.trace) @ widen(source).unsqueeze(-1)).squeeze(-1)
        current = (self.connection(source) + plastic).to(x.dtype)
        if self.recurrent:
            current = current + x
        zs, neuron = self.neuron(current.unsqueeze(0), state.neuron)
        z = zs[0]
        decay = torch.exp(-self.neuron.dt / self.tau)
        pre, post = decay * state.pre + source, decay * state.post + z
        return HebbianState(neuron, self.rule(state.trace, pre, post, self.eta), pre, post, z)
