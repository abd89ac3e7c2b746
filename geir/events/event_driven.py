"""Event-driven neurons."""

import math
from typing import NamedTuple

import torch
from torch import nn, Tensor

from .._runtime import native
from .._util.state import state_type
from ..core.resets import ResetBySubtraction
from ..neurons import LIF, LIFBox
from ._native import load
from .store import Events

# Capacity of the buffers for spikes. When they are full, the C function returns, and is called
# again to continue.
_SPIKE_CAPACITY = 1 << 16

Shape = tuple[int, int, int]  # channels, height, width


class Spikes(NamedTuple):
    """Spikes of a layer in the order of time, which can be the input of another layer."""

    t: Tensor  # times in microseconds, float64, shape (spikes,)
    channel: Tensor
    y: Tensor
    x: Tensor
    shape: Shape  # of the layer: channels, height, width


@state_type
class EventDrivenLIFState(NamedTuple):
    """State of `EventDrivenLIF`, each part of shape (channels, height, width)."""

    v: Tensor  # membrane potential at time t
    i: Tensor  # synaptic current at time t
    t: Tensor  # time of the last update of each neuron, in microseconds


class _Targets(NamedTuple):
    """The neurons that an event reaches."""

    offsets: Tensor  # (targets, 3): output channel, row offset, column offset, before division by the stride
    weights: Tensor  # (input channels, targets)


class EventDrivenLIF(nn.Module):
    r"""A layer of leaky integrate-and-fire neurons in which an event updates only the neurons that it reaches, exactly.

    Each neuron has its own time, that of its last update. An event at :math:`t` first advances the
    neuron from its time :math:`t_n` to :math:`t` in closed form,

    .. math::
        i \leftarrow i e^{-\Delta / \tau_\text{syn}}, \qquad
        v \leftarrow v_\text{rest} + (v - v_\text{rest}) e^{-\Delta / \tau_\text{mem}}
        + i \frac{\tau_\text{syn}}{\tau_\text{syn} - \tau_\text{mem}}
        (e^{-\Delta / \tau_\text{syn}} - e^{-\Delta / \tau_\text{mem}}),
        \qquad \Delta = t - t_n,

    and then acts on it. There are no time steps, and the cost is proportional to the number of
    events. The layer is the limit of the clocked network ``SequentialState(Lift(conv), neuron)``,
    applied to `count_frames`, as `dt` goes to 0. The effect of an event depends on the neuron:

    - `LIF`: The current jumps, :math:`i \leftarrow i + w`. The potential then rises smoothly and
      can cross the threshold between events. Spikes have the exact times of the crossings: the
      potential has at most one peak, whose time is known, and the crossing on the flank before it
      is found by Newton's method.
    - `LIFBox`: The potential jumps, :math:`v \leftarrow v + w`; this is a current pulse of charge
      :math:`w \tau_\text{mem}` and no duration. Between events the potential only decays, so
      neurons spike only at events, and at most once per event.

    The layer is not differentiable. It runs on one CPU core and needs a C compiler.

    Args:
        neuron: A `LIF` or `LIFBox` whose parameters are scalars. Its `dt` and integrator are not
            used.
        conv: Convolution without bias, dilation and groups that connects events to neurons.
            Default: each event reaches the one neuron at its position, with weight 1.

    Raises:
        TypeError: If `neuron` or `conv` has another type.
        ValueError: If the neuron would spike without input, a parameter differs between neurons, or
            the convolution has unsupported settings.

    >>> layer = EventDrivenLIF(LIFBox(v_th=1.5))
    >>> events = Events(t=[0, 1000, 50000], x=[1, 1, 1], y=[0, 0, 0], p=[1, 1, 1], sensor_size=(2, 1))
    >>> spikes, state = layer(events)
    >>> spikes.t
    tensor([1000.], dtype=torch.float64)
    """

    def __init__(self, neuron: LIF | LIFBox, conv: nn.Conv2d | None = None):
        super().__init__()
        if type(neuron) not in (LIF, LIFBox):
            raise TypeError(f"EventDrivenLIF.neuron must be a LIF or a LIFBox, got {type(neuron).__name__}.")
        if conv is not None:
            _check_convolution(conv)
        self.neuron = neuron
        self.conv = conv
        self._constants()

    def initial_state(self, shape: Shape) -> EventDrivenLIFState:
        """The resting state.

        Args:
            shape: Shape of the input: channels, height, width. Events have two channels.

        Raises:
            ValueError: If the convolution expects another number of channels.
        """
        size = self._output_shape(shape)
        v_rest = self.neuron.v_rest.detach()
        v_th = self.neuron.v_th.detach()
        v = v_rest.to(torch.promote_types(v_rest.dtype, v_th.dtype)).expand(size).clone()
        return EventDrivenLIFState(v, torch.zeros_like(v), torch.full(size, -torch.inf, dtype=torch.float64))

    @torch.no_grad()
    def forward(
        self, events: Events | Spikes, state: EventDrivenLIFState | None = None, until: float | None = None
    ) -> tuple[Spikes, EventDrivenLIFState]:
        """Process events.

        Args:
            events: Events in the order of time, with one channel per polarity; or the spikes of
                another layer.
            state: State to continue from. Default: the resting state.
            until: Time in microseconds up to which spikes are returned. Default: the time of the
                last event.

        Returns:
            The spikes, and the state after them.

        Raises:
            TypeError: If `events` has another type.
            ValueError: If events are not in the order of time, precede the state or follow `until`,
                or have another number of channels than the convolution; or the state has the wrong
                shape; or the events are not on the CPU.
        """
        times, sites, input_shape = _read_input(events)
        state = self._check_state(state, input_shape)
        if until is None:
            until = float(times[-1]) if len(times) else -math.inf
        _check_times(times, state, float(until))
        state = EventDrivenLIFState(*(part.clone(memory_format=torch.contiguous_format) for part in state))
        times_of_spikes, neurons = self._advance(times, sites, input_shape, state, float(until))
        shape = self._output_shape(input_shape)
        return Spikes(times_of_spikes, *torch.unravel_index(neurons, state.v.shape), shape=shape), state

    def _advance(
        self, times: Tensor, sites: Tensor, input_shape: Shape, state: EventDrivenLIFState, until: float
    ) -> tuple[Tensor, Tensor]:
        """Update the state in place. Returns the times of spikes and the indices of their neurons."""
        has_synapse = isinstance(self.neuron, LIF)
        is_double = state.v.dtype == torch.float64
        library = load("event_driven.c", double=str(int(is_double)), synapse=str(int(has_synapse)))
        if library is None:
            raise native.NoCompilerError(
                "EventDrivenLIF needs a C compiler; install gcc, clang or `pip install ziglang`"
            )
        targets = self._targets(input_shape[0], state.v.dtype)
        spike_times = torch.empty(_SPIKE_CAPACITY, dtype=torch.float64)
        spike_neurons = torch.empty(_SPIKE_CAPACITY, dtype=torch.int64)
        progress = torch.zeros(3, dtype=torch.int64)
        spike_count = progress[2:]
        tensors = [
            *state,
            times,
            sites,
            targets.offsets,
            targets.weights,
            torch.tensor(until, dtype=torch.float64),
            self._constants(),
            spike_times,
            spike_neurons,
            progress,
        ]
        stride = 1 if self.conv is None else self.conv.stride[0]
        relative_channels = self.conv is None
        layer_shape = state.v.shape
        numbers = [_SPIKE_CAPACITY, len(times), len(targets.offsets), *layer_shape, stride, relative_channels]
        all_times: list[Tensor] = []
        all_neurons: list[Tensor] = []
        full = True
        while full:
            spike_count.zero_()
            native.call(library.advance, tensors, numbers, block=1, threads=1)
            count = int(spike_count)
            all_times.append(spike_times[:count].clone())
            all_neurons.append(spike_neurons[:count].clone())
            full = count == _SPIKE_CAPACITY
        t = torch.cat(all_times)
        neurons = torch.cat(all_neurons)
        if has_synapse:
            # A crossing is found only when its neuron is next updated, so spikes are not in the order of time.
            t, order = torch.sort(t, stable=True)
            neurons = neurons[order]
        return t, neurons

    def _output_shape(self, shape: Shape) -> Shape:
        conv = self.conv
        if conv is None:
            return shape
        if conv.in_channels != shape[0]:
            raise ValueError(
                f"EventDrivenLIF.conv expects {conv.in_channels} input channels, but the events have {shape[0]}."
            )
        height, width = (
            (n + 2 * int(padding) - kernel) // stride + 1
            for n, padding, kernel, stride in zip(shape[1:], conv.padding, conv.kernel_size, conv.stride, strict=True)
        )
        return conv.out_channels, height, width

    def _targets(self, channels: int, dtype: torch.dtype) -> _Targets:
        if self.conv is None:
            # Offsets of 0: the channel is relative to that of the event.
            return _Targets(torch.zeros(1, 3, dtype=torch.int32), torch.ones(channels, 1, dtype=dtype))
        weights = self.conv.weight
        out_channels, _, height, width = weights.shape
        index = torch.cartesian_prod(*map(torch.arange, (out_channels, height, width))).view(-1, 3)
        offsets = index * torch.tensor([1, -1, -1]) + torch.tensor([0, *map(int, self.conv.padding)])
        weights = weights.to(dtype).permute(1, 0, 2, 3).reshape(channels, -1)
        return _Targets(offsets.int().contiguous(), weights.contiguous())

    def _check_state(self, state: EventDrivenLIFState | None, shape: Shape) -> EventDrivenLIFState:
        if state is None:
            return self.initial_state(shape)
        expected = self._output_shape(shape)
        for name, part in zip(state._fields, state, strict=True):
            if part.shape != expected:
                raise ValueError(
                    f"EventDrivenLIFState.{name} has shape {tuple(part.shape)}, but the layer has shape {expected}."
                )
        return state

    def _constants(self) -> Tensor:
        """The values of the struct `constants` in event_driven.c."""
        mem = self._scalar("tau_mem")
        # LIFBox has no synapse; NaN marks the constants that its code does not read.
        syn = self._scalar("tau_syn") if isinstance(self.neuron, LIF) else math.nan
        v_rest, v_th, v_reset = (self._scalar(name) for name in ("v_rest", "v_th", "v_reset"))
        if not (v_rest < v_th and v_reset < v_th):
            raise ValueError(
                "EventDrivenLIF.neuron must have a v_rest and a v_reset below its v_th, "
                f"got {v_rest}, {v_reset} and {v_th}."
            )
        if syn == mem:
            # The closed form is singular for equal time constants. The relative change of 1e-9 is
            # not observable.
            syn = syn * (1 + 1e-9)
        # The largest potential evoked by a current of 1.
        peak = math.exp(-math.log(syn / mem) * mem / (syn - mem))
        constants = {
            "mem": 1e-6 / mem,
            "syn": 1e-6 / syn,
            "slow": 1e-6 / max(mem, syn),
            "difference": abs(1e-6 / mem - 1e-6 / syn),
            "peak": peak,
            "gain": syn / abs(syn - mem),
            "threshold": v_th - v_rest,
            "rest": v_rest,
            "reset": v_reset,
            "subtract": float(isinstance(self.neuron.reset_mechanism, ResetBySubtraction)),
        }
        return torch.tensor(list(constants.values()), dtype=torch.float64)

    def _scalar(self, name: str) -> float:
        value: Tensor = getattr(self.neuron, name)
        if value.numel() != 1:
            raise ValueError(
                f"EventDrivenLIF.neuron must have one {name} for all neurons, got one of shape {tuple(value.shape)}."
            )
        return float(value)


class _Input(NamedTuple):
    times: Tensor  # microseconds, float64
    sites: Tensor  # (3, events): channel, row, column
    shape: Shape


def _read_input(events: Events | Spikes) -> _Input:
    if isinstance(events, Events):
        width, height = events.sensor_size
        columns = (events.p, events.y, events.x)
        shape = (2, height, width)
    elif isinstance(events, Spikes):
        columns = (events.channel, events.y, events.x)
        shape = events.shape
    else:
        raise TypeError(f"EventDrivenLIF expected Events or Spikes, got {type(events).__name__}.")
    if events.t.device.type != "cpu":
        raise ValueError(
            f"EventDrivenLIF runs on the CPU, got events on {events.t.device}; call events.to('cpu') first."
        )
    return _Input(events.t.double(), torch.stack([column.int() for column in columns]), shape)


def _check_times(times: Tensor, state: EventDrivenLIFState, until: float) -> None:
    if not len(times):
        return
    latest_update = float(state.t.max())
    is_sorted = bool((times[1:] >= times[:-1]).all())
    if not (is_sorted and times[0] >= latest_update and times[-1] <= until):
        raise ValueError(
            "EventDrivenLIF expects events in the order of time, "
            f"not before its state ({latest_update:.0f} us) and not after until ({until:.0f} us), "
            f"got {float(times[0]):.0f} to {float(times[-1]):.0f} us."
        )


def _check_convolution(conv: nn.Conv2d) -> None:
    if type(conv) is not nn.Conv2d:
        raise TypeError(f"EventDrivenLIF.conv must be a Conv2d, got {type(conv).__name__}.")
    plain = conv.groups == 1 and conv.dilation == (1, 1) and conv.bias is None and conv.padding_mode == "zeros"
    if not plain or isinstance(conv.padding, str) or conv.stride[0] != conv.stride[1]:
        raise ValueError(
            "EventDrivenLIF.conv must have no bias, dilation or groups, the same stride in both dimensions, "
            f"and zero padding given as numbers, got {conv}."
        )
