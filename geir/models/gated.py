"""Recurrent layers whose gates are spikes: LSTM, GRU and convolutional LSTM."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import nn, Tensor

from .._util.state import state_type
from .._util.time_distributed import fold_time
from .._util.validation import check_integer, Input, unwrap_output
from ..surrogates import ATan

Surrogate = Callable[[Tensor], Tensor]

SURROGATE = ATan()


@state_type
class SpikingLSTMState(NamedTuple):
    """State of `SpikingLSTM` and `SpikingConvLSTM`."""

    h: Tensor  # output
    c: Tensor  # cell


@state_type
class SpikingGRUState(NamedTuple):
    """State of `SpikingGRU`."""

    h: Tensor  # output


class GatedLayer(nn.Module, ABC):
    """A layer with gates. Its input weights are applied to all steps at once, its recurrent weights step by step.

    Args:
        input_weights: Maps the input to the input of the gates.
        recurrent_weights: Maps the output of the previous step to the input of the gates.
        surrogate: The threshold function of the gates.
        hidden_size: Number of channels of the output.
        shape: Shape of the input, for messages.
    """

    state: type[Any]  # a NamedTuple of tensors with the shape of the output
    # For `geir.reset` and `geir.initial_state`.
    rests_at_zero: ClassVar[bool] = True

    def __init__(
        self, input_weights: nn.Module, recurrent_weights: nn.Module, surrogate: Surrogate, hidden_size: int, shape: str
    ):
        super().__init__()
        if not callable(surrogate):
            raise TypeError(f"{type(self).__name__}.surrogate must be a surrogate such as ATan(), got {surrogate!r}.")
        self.input_weights = input_weights
        self.recurrent_weights = recurrent_weights
        self.surrogate = surrogate
        self.hidden_size = hidden_size
        self._shape = shape

    @abstractmethod
    def _step(self, x: Tensor, state: Any) -> Any:
        """From the weighted input and the state to the next state."""

    def time_role(self) -> Literal["time", "step"]:
        """It takes all steps."""
        return "time"

    def forward(self, xs: Input, state: Any = None) -> tuple[Tensor, Any]:
        """Run over time.

        Args:
            xs: Input, shape (time, batch, features), of a convolutional layer (time, batch, channels, height, width);
                or the previous module's `(output, state)` tuple; its state is ignored.
            state: State to continue from. Default: zeros.

        Returns:
            Output, shape (time, batch, hidden_size, ...), and the state after the last step.

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or `state` is not a state of this layer.
            ValueError: If `xs` or a part of `state` has another shape.
        """
        name = type(self).__name__
        xs = unwrap_output(name, xs)
        if xs.dim() != self._shape.count(",") + 1:
            raise ValueError(f"{name} expected input of shape {self._shape}, got {tuple(xs.shape)}.")
        currents = fold_time(self.input_weights, xs)
        shape = (xs.shape[1], self.hidden_size, *currents.shape[3:])
        if state is None:
            state = self.state(*[currents.new_zeros(shape) for _ in self.state._fields])
        elif not isinstance(state, self.state):
            raise TypeError(f"{name} expected a {self.state.__name__} as its state, got {type(state).__name__}.")
        for key, part in zip(state._fields, state, strict=True):
            if part.shape != shape:
                raise ValueError(
                    f"{self.state.__name__}.{key} has shape {tuple(part.shape)}, but {name} needs {shape}."
                )
        outputs = [currents.new_zeros(0, *shape)]
        for current in currents:
            state = self._step(current, state)
            outputs.append(state.h[None])
        return torch.cat(outputs), state


class _GatedLSTM(GatedLayer):
    state = SpikingLSTMState

    def _step(self, x: Tensor, state: SpikingLSTMState) -> SpikingLSTMState:
        gates = x + self.recurrent_weights(state.h)
        i, f, g, o = (self.surrogate(gate) for gate in gates.chunk(4, dim=1))
        c = f * state.c + i * g
        c = c - (c - 1).clamp(min=0).detach()  # at most 1, with the gradient of the sum
        return SpikingLSTMState(h=o * c, c=c)


class SpikingLSTM(_GatedLSTM):
    r"""Long short-term memory whose gates are spikes.

    .. math::
        \begin{pmatrix} i_t \\ f_t \\ g_t \\ o_t \end{pmatrix} = \Theta\left(W x_t + b + U h_{t-1} + d\right), \qquad
        c_t = \min(f_t \odot c_{t-1} + i_t \odot g_t, 1), \qquad h_t = o_t \odot c_t

    The gradient passes through the minimum as if it were not there. The weights have the order of `torch.nn.LSTM`.

    Reference: A. Lotfi Rezaabad & S. Vishwanath, *Long short-term memory spiking networks and their applications*,
    2020.

    Args:
        input_size: Number of inputs.
        hidden_size: Number of outputs.
        surrogate: Threshold function, from the distance to threshold to spikes, with its surrogate derivative.

    Raises:
        TypeError: If `surrogate` is not callable.
        ValueError: If a size is not a positive integer.

    >>> layer = SpikingLSTM(3, 5)
    >>> hs, state = layer(torch.rand(20, 2, 3))
    >>> hs.shape
    torch.Size([20, 2, 5])
    """

    def __init__(self, input_size: int, hidden_size: int, surrogate: Surrogate = SURROGATE):
        check_integer(type(self).__name__, minimum=1, input_size=input_size, hidden_size=hidden_size)
        weights = _linear(input_size, 4, hidden_size), _linear(hidden_size, 4, hidden_size)
        super().__init__(*weights, surrogate, hidden_size, "(time, batch, features)")


class SpikingConvLSTM(_GatedLSTM):
    r"""Convolutional long short-term memory whose gates are spikes.

    `SpikingLSTM` with convolutions in place of products. They keep height and width; that of the output has no bias.

    References: X. Shi et al., *Convolutional LSTM network: a machine learning approach for precipitation nowcasting*,
    2015; for the gates, see `SpikingLSTM`.

    Args:
        in_channels: Number of channels of the input.
        hidden_channels: Number of channels of the output.
        kernel_size: Height and width of both kernels, an odd number.
        surrogate: Threshold function, from the distance to threshold to spikes, with its surrogate derivative.

    Raises:
        TypeError: If `surrogate` is not callable.
        ValueError: If a number is not a positive integer, or `kernel_size` is even.
    """

    def __init__(self, in_channels: int, hidden_channels: int, kernel_size: int = 3, surrogate: Surrogate = SURROGATE):
        name = type(self).__name__
        check_integer(name, 1, in_channels=in_channels, hidden_channels=hidden_channels, kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"{name}.kernel_size must be odd, to keep height and width, got {kernel_size}.")
        outputs, padding = 4 * hidden_channels, kernel_size // 2
        super().__init__(
            nn.Conv2d(in_channels, outputs, kernel_size, padding=padding),
            nn.Conv2d(hidden_channels, outputs, kernel_size, padding=padding, bias=False),
            surrogate,
            hidden_channels,
            "(time, batch, channels, height, width)",
        )


class SpikingGRU(GatedLayer):
    r"""Gated recurrent unit whose gates and outputs are spikes.

    .. math::
        r_t &= \Theta\left(W_r x_t + b_r + U_r h_{t-1} + d_r\right) \\
        u_t &= \Theta\left(W_u x_t + b_u + U_u h_{t-1} + d_u\right) \\
        n_t &= \Theta\left(W_n x_t + b_n + r_t \odot (U_n h_{t-1} + d_n)\right) \\
        h_t &= (1 - u_t) \odot n_t + u_t \odot h_{t-1}

    The weights have the order of `torch.nn.GRU`.

    References: K. Cho et al., *Learning phrase representations using RNN encoder-decoder for statistical machine
    translation*, 2014; for the gates, see `SpikingLSTM`.

    Args:
        input_size: Number of inputs.
        hidden_size: Number of outputs.
        surrogate: Threshold function, from the distance to threshold to spikes, with its surrogate derivative.

    Raises:
        TypeError: If `surrogate` is not callable.
        ValueError: If a size is not a positive integer.
    """

    state = SpikingGRUState

    def __init__(self, input_size: int, hidden_size: int, surrogate: Surrogate = SURROGATE):
        check_integer(type(self).__name__, minimum=1, input_size=input_size, hidden_size=hidden_size)
        weights = _linear(input_size, 3, hidden_size), _linear(hidden_size, 3, hidden_size)
        super().__init__(*weights, surrogate, hidden_size, "(time, batch, features)")

    def _step(self, x: Tensor, state: SpikingGRUState) -> SpikingGRUState:
        x_reset, x_update, x_new = x.chunk(3, dim=1)
        h_reset, h_update, h_new = self.recurrent_weights(state.h).chunk(3, dim=1)
        update = self.surrogate(x_update + h_update)
        new = self.surrogate(x_new + self.surrogate(x_reset + h_reset) * h_new)
        return SpikingGRUState(h=(1 - update) * new + update * state.h)


def _linear(inputs: int, gates: int, hidden_size: int) -> nn.Linear:
    """A layer for all gates, with the initial values of PyTorch's recurrent layers."""
    layer = nn.Linear(inputs, gates * hidden_size)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)
    return layer
