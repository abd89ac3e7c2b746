"""Neurons that only events advance."""

import functools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .._runtime import native
from ..core.resets import ResetBySubtraction
from ..neurons import LIF, LIFBox
from .store import Events
from .transforms.common import source

# How many spikes there is room for at a time.
_ROOM = 1 << 16


class Spikes(NamedTuple):
    """Spikes of a layer in the order of time: what goes into the next layer."""

    t: Tensor  # microseconds, float64, shape (spikes,)
    channel: Tensor
    y: Tensor
    x: Tensor
    shape: tuple[int, int, int]  # of the layer: channels, height, width


class LazyState(NamedTuple):
    """State of `LazyLIF`, each part of shape (channels, height, width)."""

    v: Tensor  # membrane potential at the neuron's own time
    i: Tensor  # synaptic current at that time
    t: Tensor  # that time, in microseconds


class LazyLIF(nn.Module):
    r"""A layer of leaky integrate-and-fire neurons of which an event advances only those that it reaches, exactly.

    Each neuron has a time of its own. An event at :math:`t` first takes a neuron there from its time :math:`t_n` in closed form,

    .. math::
        i \leftarrow i e^{-\Delta / \tau_\text{syn}}, \qquad
        v \leftarrow v_\text{rest} + (v - v_\text{rest}) e^{-\Delta / \tau_\text{mem}}
        + i \frac{\tau_\text{syn}}{\tau_\text{syn} - \tau_\text{mem}} (e^{-\Delta / \tau_\text{syn}} - e^{-\Delta / \tau_\text{mem}}),
        \qquad \Delta = t - t_n,

    and then acts on it. There are no time steps, and the work follows the number of events. It is what the clocked network
    ``SequentialState(Lift(conv), neuron)`` on `count_frames` comes to as its `dt` goes to 0. What an event does depends on the neuron:

    - `LIF`: the current jumps, :math:`i \leftarrow i + w`. The potential then rises smoothly and may cross the threshold between events. The crossing
      is found (the potential has one peak at most, whose place is known; Newton's method on the flank before it), so spikes have their exact times.
    - `LIFBox`: the potential jumps, :math:`v \leftarrow v + w`: a current of charge :math:`w \tau_\text{mem}` that flows in no time. Between events
      the potential only decays, so a spike can only be at an event. A neuron spikes once an event at most.

    No gradient passes. Runs on the CPU, on one core, and needs a C compiler.

    Args:
        neuron: `LIF` or `LIFBox` with one number for each parameter. Its `dt` and integrator do not matter.
        conv: What events reach: a convolution without bias, dilation and groups. Default: each the one neuron at its place, with weight 1.

    Raises:
        TypeError: If `neuron` or `conv` is something else.
        ValueError: If the neuron would spike without input, or a parameter differs between neurons.

    >>> layer = LazyLIF(LIFBox(v_th=1.5))
    >>> events = Events(t=[0, 1000, 50000], x=[1, 1, 1], y=[0, 0, 0], p=[1, 1, 1], sensor_size=(2, 1))
    >>> spikes, state = layer(events)
    >>> spikes.t
    tensor([1000.], dtype=torch.float64)
    """

    def __init__(self, neuron: LIF | LIFBox, conv: nn.Conv2d | None = None):
        super().__init__()
        if type(neuron) not in (LIF, LIFBox):
            raise TypeError(f"LazyLIF takes a LIF or a LIFBox, got {type(neuron).__name__}.")
        if conv is not None:
            _check_convolution(conv)
        self.neuron, self.conv = neuron, conv
        self._constants()

    def initial_state(self, shape: tuple[int, int, int]) -> LazyState:
        """At rest since ever, for events of `shape` (channels, height, width)."""
        size = self._out_shape(shape)
        rest, th = self.neuron.v_rest.detach(), self.neuron.v_th.detach()
        v = rest.to(torch.promote_types(rest.dtype, th.dtype)).expand(size).clone()
        return LazyState(v, torch.zeros_like(v), torch.full(size, -torch.inf, dtype=torch.float64))

    @torch.no_grad()
    def forward(
        self, events: Events | Spikes, state: LazyState | None = None, until: float | None = None
    ) -> tuple[Spikes, LazyState]:
        """Advance by events.

        Args:
            events: In the order of time, of one channel for each polarity; or the spikes of another layer.
            state: State to continue from. Default: at rest.
            until: Time in microseconds up to which all spikes are told. Default: that of the last event.

        Returns:
            The spikes, and the state after them.

        Raises:
            ValueError: If events are not in the order of time, lie before the state or after `until`, or the state has another shape.
        """
        times, sites, shape = _sites(events)
        state = self._checked(state, shape)
        until = float(times[-1]) if until is None and len(times) else -math.inf if until is None else float(until)
        if len(times) and not (
            bool((times[1:] >= times[:-1]).all()) and times[0] >= state.t.max() and times[-1] <= until
        ):
            raise ValueError(
                f"LazyLIF takes events in the order of time, not before its state ({float(state.t.max()):.0f} us) and not after until "
                f"({until:.0f} us), got {float(times[0]):.0f} to {float(times[-1]):.0f} us."
            )
        v = LazyState(*(part.clone(memory_format=torch.contiguous_format) for part in state))
        (out, high, wide), stride = v.v.shape, 1 if self.conv is None else self.conv.stride[0]
        reach, weights = self._reach(shape[0], v.v.dtype)
        room_times, room_who = torch.empty(_ROOM, dtype=torch.float64), torch.empty(_ROOM, dtype=torch.int64)
        progress = torch.zeros(3, dtype=torch.int64)
        tensors = [
            *v,
            times,
            sites,
            reach,
            weights,
            torch.tensor(until, dtype=torch.float64),
            self._constants(),
            room_times,
            room_who,
            progress,
        ]
        numbers = [_ROOM, len(times), len(reach), out, high, wide, stride, self.conv is None]
        function = _library(v.v.dtype, isinstance(self.neuron, LIF)).advance
        parts = []
        while True:
            native.call(function, tensors, numbers, 1, 1)
            told = int(progress[2])
            parts.append((room_times[:told].clone(), room_who[:told].clone()))
            if told < _ROOM:
                break
            progress[2] = 0
        t, who = (torch.cat(part) for part in zip(*parts, strict=True))
        if isinstance(self.neuron, LIF):
            # A crossing is found when its neuron is next looked at.
            t, order = torch.sort(t, stable=True)
            who = who[order]
        return Spikes(t, *torch.unravel_index(who, v.v.shape), shape=(out, high, wide)), v

    def _out_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        conv = self.conv
        if conv is None:
            return shape
        if conv.in_channels != shape[0]:
            raise ValueError(
                f"LazyLIF: the convolution takes {conv.in_channels} channels, but the events have {shape[0]}."
            )
        high, wide = (
            (n + 2 * int(p) - k) // s + 1
            for n, p, k, s in zip(shape[1:], conv.padding, conv.kernel_size, conv.stride, strict=True)
        )
        return conv.out_channels, high, wide

    def _reach(self, channels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """What an event reaches, (reached, 3): output channel (from its own without a convolution), rows and columns
        from it; and the weights, (input channels, reached)."""
        if self.conv is None:
            return torch.zeros(1, 3, dtype=torch.int32), torch.ones(channels, 1, dtype=dtype)
        weights = self.conv.weight
        out, _, high, wide = weights.shape
        where = torch.cartesian_prod(*map(torch.arange, (out, high, wide))).view(-1, 3)
        reach = where * torch.tensor([1, -1, -1]) + torch.tensor([0, *map(int, self.conv.padding)])
        return reach.int().contiguous(), weights.to(dtype).permute(1, 0, 2, 3).reshape(channels, -1).contiguous()

    def _checked(self, state: LazyState | None, shape: tuple[int, int, int]) -> LazyState:
        if state is None:
            return self.initial_state(shape)
        expected = self._out_shape(shape)
        for name, part in zip(state._fields, state, strict=True):
            if part.shape != expected:
                raise ValueError(f"LazyState.{name} has shape {tuple(part.shape)}, but the layer has shape {expected}.")
        return state

    def _constants(self) -> Tensor:
        """As `constants` in C: rates in 1/us, and potentials of which the threshold is counted from rest."""
        numbers = {
            name: getattr(self.neuron, name)
            for name in ("tau_mem", "tau_syn", "v_rest", "v_th", "v_reset")
            if hasattr(self.neuron, name)
        }
        for name, value in numbers.items():
            if value.numel() != 1:
                raise ValueError(f"LazyLIF takes one {name} for all neurons, got one of shape {tuple(value.shape)}.")
        mem, syn, rest, th, reset = (
            float(numbers.get(name, math.nan)) for name in ("tau_mem", "tau_syn", "v_rest", "v_th", "v_reset")
        )
        if not (rest < th and reset < th):
            raise ValueError(
                f"LazyLIF takes a neuron whose v_rest and v_reset lie below its v_th, got {rest}, {reset} and {th}."
            )
        # Nothing that one could see, and the closed form need not tell the one case where it has no value.
        syn = syn * (1 + 1e-9) if syn == mem else syn
        # The largest potential that a current of 1 can make.
        peak = math.exp(-math.log(syn / mem) * mem / (syn - mem))
        subtract = isinstance(self.neuron.reset_mechanism, ResetBySubtraction)
        rates = [1e-6 / mem, 1e-6 / syn, 1e-6 / max(mem, syn), abs(1e-6 / mem - 1e-6 / syn)]
        return torch.tensor([*rates, peak, syn / abs(syn - mem), th - rest, rest, reset, subtract], dtype=torch.float64)


@functools.cache
def _library(dtype: torch.dtype, synapse: bool) -> Any:
    return native.load(source("lazy.c", double=str(int(dtype == torch.float64)), synapse=str(int(synapse))))


def _sites(events: Events | Spikes) -> tuple[Tensor, Tensor, tuple[int, int, int]]:
    """Times, places (3, events), and channels, height and width."""
    if isinstance(events, Events):
        columns, shape = (events.p, events.y, events.x), (2, events.sensor_size[1], events.sensor_size[0])
    elif isinstance(events, Spikes):
        columns, shape = (events.channel, events.y, events.x), events.shape
    else:
        raise TypeError(f"LazyLIF takes Events or Spikes, got {type(events).__name__}.")
    if events.t.device.type != "cpu":
        raise ValueError(f"LazyLIF runs on the CPU, got events on {events.t.device}.")
    return events.t.double(), torch.stack([column.int() for column in columns]), shape


def _check_convolution(conv: nn.Conv2d) -> None:
    if type(conv) is not nn.Conv2d:
        raise TypeError(f"LazyLIF.conv must be a Conv2d, got {type(conv).__name__}.")
    plain = conv.groups == 1 and conv.dilation == (1, 1) and conv.bias is None and conv.padding_mode == "zeros"
    if not plain or isinstance(conv.padding, str) or conv.stride[0] != conv.stride[1]:
        raise ValueError(
            f"LazyLIF.conv must have no bias, dilation or groups, one stride, and a padding of zeros in numbers, got {conv}."
        )
