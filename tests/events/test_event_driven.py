"""Event-driven neurons, compared with the clocked network, closed forms, and themselves in parts."""

import math

import pytest
import torch
from seeding import seeded
from torch import nn

from geir import LIF, LIFBox, Lift, ResetBySubtraction, SequentialState
from geir.events import Events
from geir.events.event_driven import EventDrivenLIF, EventDrivenLIFState, Spikes
from geir.events.transforms import count_frames

SIZE = (7, 6)


def stream(number=400, duration=200_000, seed=0, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    # All times differ, because the clocked network cannot order simultaneous events.
    t = 500_000 + torch.randperm(duration, generator=generator)[:number].sort().values
    x, y, p = (torch.randint(n, (number,), generator=generator) for n in (*size, 2))
    return Events(t, x, y, p, sensor_size=size)


def convolution(out=3, stride=1, padding=2, channels=2, seed=0):
    torch.manual_seed(seed)
    conv = nn.Conv2d(channels, out, 5, stride=stride, padding=padding, bias=False).double()
    conv.weight.data = torch.rand_like(conv.weight) * 0.9 - 0.2
    return conv


def neuron(kind, dt=1e-3, **changes):
    numbers = {"tau_mem": 20e-3, "v_th": 1.2} | changes
    # Converted to float64 directly: 20e-3 is not representable in float32.
    return kind(
        dt=dt,
        **{name: torch.tensor(n, dtype=torch.float64) if isinstance(n, float) else n for name, n in numbers.items()},
    )


def by_neuron(t, neurons):
    """Spike times of each neuron."""
    return {int(n): t[neurons == n] for n in neurons.unique()}


def event_driven(layer, events):
    spikes, _ = layer(events)
    _, high, wide = spikes.shape
    return by_neuron(spikes.t, (spikes.channel * high + spikes.y) * wide + spikes.x)


def clocked(layer, events, dt):
    xs = count_frames(events, dt=dt, stop=int(events.t[-1]) + 1)[:, None].double()
    clock = neuron(
        type(layer.neuron),
        dt,
        reset_mechanism=layer.neuron.reset_mechanism,
        **({"tau_syn": layer.neuron.tau_syn} if isinstance(layer.neuron, LIF) else {}),
    )
    if isinstance(clock, LIFBox):
        # The charge for which the potential jumps by the weight.
        xs = xs / (1 - math.exp(-dt / 20e-3))
    zs, _ = SequentialState(*([Lift(layer.conv)] if layer.conv else []), clock)(xs)
    step, which = zs.detach().flatten(1).nonzero(as_tuple=True)
    return by_neuron(events.t[0] + (step + 1) * dt * 1e6, which)


NEURONS = {
    "LIF": neuron(LIF),
    "LIF with a slow synapse": neuron(LIF, tau_syn=50e-3),
    "LIF with equal time constants": neuron(LIF, tau_syn=20e-3),
    "LIFBox": neuron(LIFBox),
    "LIFBox reset by subtraction": neuron(LIFBox, reset_mechanism=ResetBySubtraction()),
}
CONVOLUTIONS = seeded(
    lambda: {"one to one": None, "5x5": convolution(), "5x5 with a stride": convolution(2, stride=2, padding=1)}
)


@pytest.mark.parametrize("connection", CONVOLUTIONS)
@pytest.mark.parametrize("name", NEURONS)
def test_it_is_the_limit_of_the_clocked_network_as_dt_goes_to_0(name, connection):
    layer = EventDrivenLIF(NEURONS[name], CONVOLUTIONS[connection])
    events = stream(1500 if connection == "one to one" else 300, duration=100_000)
    exact = event_driven(layer, events)
    total = sum(map(len, exact.values()))
    assert total > 30, "the input is too weak for this test to see a spike"
    errors = []
    for dt in (1e-4, 1e-5):
        steps = clocked(layer, events, dt)
        # A few neurons differ: those whose potential comes close to the threshold.
        assert len(exact.keys() ^ steps.keys()) <= 0.05 * len(exact)
        assert sum(map(len, steps.values())) == pytest.approx(total, rel=0.1 if dt == 1e-4 else 0.02)
        first = torch.stack([steps[n][0] - exact[n][0] for n in exact.keys() & steps.keys()])
        errors.append(first.abs().quantile(0.9).item())
    # Spikes of the clocked network are at most one step late, so the error is proportional to the step.
    assert errors[0] <= 1e-4 * 1e6
    assert errors[1] <= 1e-5 * 1e6


def test_a_spike_is_at_the_threshold_crossing_of_the_closed_form():
    """With equal time constants, v = w s/tau exp(-s/tau). The threshold is chosen so that the crossing is at s = tau / 2."""
    th = 0.5 * math.exp(-0.5)
    layer = EventDrivenLIF(neuron(LIF, tau_syn=20e-3, v_th=th))
    event = Events(t=[1_000_000], x=[3], y=[2], p=[1], sensor_size=SIZE)
    spikes, state = layer(event, until=1_020_000)
    assert (spikes.channel.item(), spikes.y.item(), spikes.x.item()) == (1, 2, 3)
    assert spikes.t.item() == pytest.approx(1_010_000, abs=1e-3)
    assert state.i[1, 2, 3].item() == pytest.approx(math.exp(-0.5), rel=1e-6)
    assert (layer(event, until=1_009_999)[0].t).numel() == 0


def test_a_neuron_spikes_if_and_only_if_its_peak_exceeds_the_threshold():
    """The potential after one event is a difference of two exponentials, whose peak is known."""
    mem, syn = 10e-3, 5e-3
    peak = (syn / mem) ** (mem / (mem - syn))
    event = Events(t=[0], x=[0], y=[0], p=[1], sensor_size=SIZE)
    for th, count in ((peak * (1 - 1e-9), 1), (peak * (1 + 1e-9), 0)):
        spikes, _ = EventDrivenLIF(neuron(LIF, tau_mem=mem, tau_syn=syn, v_th=th))(event, until=1e6)
        assert len(spikes.t) == count
        if count:
            assert spikes.t.item() == pytest.approx(1e6 * math.log(mem / syn) / (1 / syn - 1 / mem), rel=1e-4)


@pytest.mark.parametrize("name", NEURONS)
def test_processing_a_stream_in_parts_equals_processing_it_at_once(name):
    layer = EventDrivenLIF(NEURONS[name], convolution())
    events, state, parts = stream(300), None, []
    whole, final = layer(events)
    for part in (events[:1], events[1:1], events[1:100], events[100:250], events[250:]):
        spikes, state = layer(part, state)
        parts.append(spikes)
    assert len(whole.t) > 30
    for a, b in zip(whole[:4], zip(*(part[:4] for part in parts), strict=True), strict=True):
        torch.testing.assert_close(torch.cat(b), a, rtol=0, atol=1e-4)
    torch.testing.assert_close(state, final, rtol=1e-9, atol=1e-9)


def test_more_spikes_than_the_buffer_holds_are_all_returned(monkeypatch):
    layer, events = EventDrivenLIF(NEURONS["LIF"], convolution()), stream(300)
    whole, final = layer(events)
    monkeypatch.setattr("geir.events.event_driven._SPIKE_CAPACITY", 1)
    spikes, state = layer(events)
    assert len(whole.t) > 30
    for a, b in zip(whole[:4], spikes[:4], strict=True):
        assert a.equal(b)
    torch.testing.assert_close(state, final, rtol=1e-9, atol=1e-9)


def test_the_given_state_is_not_changed():
    layer, events = EventDrivenLIF(NEURONS["LIF"]), stream()
    _, state = layer(events[:200])
    before = EventDrivenLIFState(*(part.clone() for part in state))
    layer(events[200:], state)
    for a, b in zip(state, before, strict=True):
        assert a.equal(b)


def test_float32_agrees_with_float64():
    events, conv = stream(300), convolution()
    exact, _ = EventDrivenLIF(NEURONS["LIF"], conv)(events)
    single, state = EventDrivenLIF(LIF(tau_mem=20e-3, v_th=1.2), conv)(events)
    assert state.v.dtype == torch.float32
    assert abs(len(single.t) - len(exact.t)) <= 2
    if len(single.t) == len(exact.t):
        torch.testing.assert_close(single.t, exact.t, rtol=0, atol=5.0)


def test_the_spikes_of_a_layer_are_the_input_of_the_next():
    first, second = (
        EventDrivenLIF(neuron(LIFBox), convolution(4)),
        EventDrivenLIF(neuron(LIFBox), convolution(2, channels=4)),
    )
    spikes, _ = second(first(stream(300))[0])
    assert spikes.shape == (2, 6, 7)
    assert len(spikes.t) > 30


def test_only_neurons_reached_by_events_are_updated():
    """A neuron that no event reaches keeps its initial time. A clocked layer would update every neuron in every step."""
    size, events = (320, 240), stream(1000, duration=1_000_000, size=(40, 30))
    events = Events(*events.columns(), sensor_size=size)
    _, state = EventDrivenLIF(LIF(v_th=100.0), nn.Conv2d(2, 1, 5, padding=2, bias=False))(events)
    updated = (state.t > -math.inf).sum().item()
    assert updated <= 44 * 34
    updates, clocked_updates = len(events) * 25, 1000 * 320 * 240
    assert updates * 1000 < clocked_updates


INVALID = {
    "another module as neuron": (
        lambda: EventDrivenLIF(nn.ReLU()),
        TypeError,
        "EventDrivenLIF.neuron must be a LIF or a LIFBox, got ReLU",
    ),
    "a convolution of another dimension": (
        lambda: EventDrivenLIF(LIF(), nn.Conv1d(1, 1, 3)),
        TypeError,
        "EventDrivenLIF.conv must be a Conv2d, got Conv1d",
    ),
    "a bias": (
        lambda: EventDrivenLIF(LIF(), nn.Conv2d(2, 1, 3)),
        ValueError,
        "EventDrivenLIF.conv must have no bias, dilation or groups",
    ),
    "a parameter per neuron": (
        lambda: EventDrivenLIF(LIF(v_th=torch.ones(3))),
        ValueError,
        r"EventDrivenLIF.neuron must have one v_th for all neurons, got one of shape \(3,\)",
    ),
    "a neuron that spikes without input": (
        lambda: EventDrivenLIF(LIF(v_rest=2.0)),
        ValueError,
        "a v_rest and a v_reset below its v_th, got 2.0, 0.0 and 1.0",
    ),
    "a tensor": (
        lambda: EventDrivenLIF(LIF())(torch.zeros(3)),
        TypeError,
        "EventDrivenLIF expected Events or Spikes, got Tensor",
    ),
    "another device": (
        lambda: EventDrivenLIF(LIF())(stream().to("meta")),
        ValueError,
        "EventDrivenLIF runs on the CPU, got events on meta",
    ),
    "another number of channels": (
        lambda: EventDrivenLIF(LIF(), nn.Conv2d(3, 1, 3, bias=False))(stream()),
        ValueError,
        "EventDrivenLIF.conv expects 3 input channels, but the events have 2",
    ),
    "a state of another shape": (
        lambda: EventDrivenLIF(LIF())(stream(), EventDrivenLIF(LIF()).initial_state((2, 3, 4))),
        ValueError,
        r"EventDrivenLIFState.v has shape \(2, 3, 4\), but the layer has shape \(2, 6, 7\)",
    ),
    "events before the state": (
        lambda: EventDrivenLIF(LIF())(stream(), EventDrivenLIF(LIF())(stream())[1]),
        ValueError,
        r"not before its state \(699\d+ us\)",
    ),
    "unsorted events": (
        lambda: EventDrivenLIF(LIF())(stream()[[2, 1]]),
        ValueError,
        "expects events in the order of time",
    ),
    "events after until": (
        lambda: EventDrivenLIF(LIF())(stream(), until=500_100),
        ValueError,
        r"not after until \(500100 us\)",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_arguments_raise(case):
    make, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        make()


def test_spikes_have_the_shape_of_the_layer():
    spikes, _ = EventDrivenLIF(LIF())(Events.empty(SIZE))
    assert isinstance(spikes, Spikes)
    assert spikes.shape == (2, 6, 7)
    assert len(spikes.t) == 0
