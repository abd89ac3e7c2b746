"""Event-driven neurons against the clocked network, closed forms, and themselves in parts."""

import math

import pytest
import torch
from torch import nn

from geir import LIF, LIFBox, Lift, ResetBySubtraction, SequentialState
from geir.events import Events
from geir.events.lazy import LazyLIF, LazyState, Spikes
from geir.events.transforms import count_frames

SIZE = (7, 6)


def stream(number=400, duration=200_000, seed=0, size=SIZE, at=None):
    generator = torch.Generator().manual_seed(seed)
    # No two at one time, where the clocked network cannot tell what came first.
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
    # In double precision from the start, where 20e-3 is not what float32 makes of it.
    return kind(
        dt=dt,
        **{name: torch.tensor(n, dtype=torch.float64) if isinstance(n, float) else n for name, n in numbers.items()},
    )


def by_neuron(t, which):
    """Times of the spikes of each neuron."""
    return {int(n): t[which == n] for n in which.unique()}


def lazily(layer, events):
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
        # A charge that makes the potential jump by the weight.
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
REACHES = {"each its own": None, "5x5": convolution(), "5x5 with a stride": convolution(2, stride=2, padding=1)}


@pytest.mark.parametrize("reach", REACHES)
@pytest.mark.parametrize("name", NEURONS)
def test_the_clocked_network_comes_to_it_as_dt_goes_to_0(name, reach):
    layer = LazyLIF(NEURONS[name], REACHES[reach])
    events = stream(1500 if reach == "each its own" else 300, duration=100_000)
    exact = lazily(layer, events)
    total = sum(map(len, exact.values()))
    assert total > 30, "the input is too weak for this test to see a spike"
    errors = []
    for dt in (1e-4, 1e-5):
        steps = clocked(layer, events, dt)
        # A potential that comes near threshold decides otherwise in some neuron, now and then.
        assert len(exact.keys() ^ steps.keys()) <= 0.05 * len(exact)
        assert sum(map(len, steps.values())) == pytest.approx(total, rel=0.1 if dt == 1e-4 else 0.02)
        first = torch.stack([steps[n][0] - exact[n][0] for n in exact.keys() & steps.keys()])
        errors.append(first.abs().quantile(0.9).item())
    # A step late at most, and so ten times nearer with a tenth of the step.
    assert errors[0] <= 1e-4 * 1e6
    assert errors[1] <= 1e-5 * 1e6


def test_one_spike_is_at_the_crossing_of_the_closed_form():
    """Equal time constants: v = w s/tau exp(-s/tau), which is v_th at a place that Lambert's function gives: here s = tau / 2."""
    th = 0.5 * math.exp(-0.5)
    layer = LazyLIF(neuron(LIF, tau_syn=20e-3, v_th=th))
    event = Events(t=[1_000_000], x=[3], y=[2], p=[1], sensor_size=SIZE)
    spikes, state = layer(event, until=1_020_000)
    assert (spikes.channel.item(), spikes.y.item(), spikes.x.item()) == (1, 2, 3)
    assert spikes.t.item() == pytest.approx(1_010_000, abs=1e-3)
    assert state.i[1, 2, 3].item() == pytest.approx(math.exp(-0.5), rel=1e-6)
    assert (layer(event, until=1_009_999)[0].t).numel() == 0


def test_a_neuron_touches_its_threshold_at_the_peak_or_not():
    """The peak of the potential after one event is that of the difference of two exponentials."""
    mem, syn = 10e-3, 5e-3
    peak = (syn / mem) ** (mem / (mem - syn))
    event = Events(t=[0], x=[0], y=[0], p=[1], sensor_size=SIZE)
    for th, count in ((peak * (1 - 1e-9), 1), (peak * (1 + 1e-9), 0)):
        spikes, _ = LazyLIF(neuron(LIF, tau_mem=mem, tau_syn=syn, v_th=th))(event, until=1e6)
        assert len(spikes.t) == count
        if count:
            assert spikes.t.item() == pytest.approx(1e6 * math.log(mem / syn) / (1 / syn - 1 / mem), rel=1e-4)


@pytest.mark.parametrize("name", NEURONS)
def test_a_stream_in_parts_is_the_stream(name):
    layer = LazyLIF(NEURONS[name], convolution())
    events, state, parts = stream(300), None, []
    whole, final = layer(events)
    for part in (events[:1], events[1:1], events[1:100], events[100:250], events[250:]):
        spikes, state = layer(part, state)
        parts.append(spikes)
    assert len(whole.t) > 30
    for a, b in zip(whole[:4], zip(*(part[:4] for part in parts), strict=True), strict=True):
        torch.testing.assert_close(torch.cat(b), a, rtol=0, atol=1e-4)
    torch.testing.assert_close(state, final, rtol=1e-9, atol=1e-9)


def test_more_spikes_than_there_is_room_for_at_a_time_come_all(monkeypatch):
    layer, events = LazyLIF(NEURONS["LIF"], convolution()), stream(300)
    whole, final = layer(events)
    monkeypatch.setattr("geir.events.lazy._ROOM", 1)
    spikes, state = layer(events)
    assert len(whole.t) > 30
    for a, b in zip(whole[:4], spikes[:4], strict=True):
        assert a.equal(b)
    torch.testing.assert_close(state, final, rtol=1e-9, atol=1e-9)


def test_a_state_goes_in_and_is_not_changed():
    layer, events = LazyLIF(NEURONS["LIF"]), stream()
    _, state = layer(events[:200])
    kept = LazyState(*(part.clone() for part in state))
    layer(events[200:], state)
    for a, b in zip(state, kept, strict=True):
        assert a.equal(b)


def test_float32_agrees_with_float64():
    events, conv = stream(300), convolution()
    exact, _ = LazyLIF(NEURONS["LIF"], conv)(events)
    single, state = LazyLIF(LIF(tau_mem=20e-3, v_th=1.2), conv)(events)
    assert state.v.dtype == torch.float32
    assert abs(len(single.t) - len(exact.t)) <= 2
    if len(single.t) == len(exact.t):
        torch.testing.assert_close(single.t, exact.t, rtol=0, atol=5.0)


def test_layers_follow_each_other():
    first, second = LazyLIF(neuron(LIFBox), convolution(4)), LazyLIF(neuron(LIFBox), convolution(2, channels=4))
    spikes, _ = second(first(stream(300))[0])
    assert spikes.shape == (2, 6, 7)
    assert len(spikes.t) > 30


def test_the_work_follows_the_events_and_not_the_frames():
    """A neuron that no event reaches keeps its own time: so many neurons are advanced, of those that a clock would advance."""
    size, events = (320, 240), stream(1000, duration=1_000_000, size=(40, 30))
    events = Events(*events.columns(), sensor_size=size)
    _, state = LazyLIF(LIF(v_th=100.0), nn.Conv2d(2, 1, 5, padding=2, bias=False))(events)
    touched = (state.t > -math.inf).sum().item()
    assert touched <= 44 * 34
    lazy, clock = len(events) * 25, 1000 * 320 * 240
    assert lazy * 1000 < clock


BAD = {
    "another neuron": (lambda: LazyLIF(nn.ReLU()), TypeError, "LazyLIF takes a LIF or a LIFBox, got ReLU"),
    "another convolution": (
        lambda: LazyLIF(LIF(), nn.Conv1d(1, 1, 3)),
        TypeError,
        "LazyLIF.conv must be a Conv2d, got Conv1d",
    ),
    "a bias": (
        lambda: LazyLIF(LIF(), nn.Conv2d(2, 1, 3)),
        ValueError,
        "LazyLIF.conv must have no bias, dilation or groups",
    ),
    "neurons that differ": (
        lambda: LazyLIF(LIF(v_th=torch.ones(3))),
        ValueError,
        r"LazyLIF takes one v_th for all neurons, got one of shape \(3,\)",
    ),
    "spikes without input": (
        lambda: LazyLIF(LIF(v_rest=2.0)),
        ValueError,
        "whose v_rest and v_reset lie below its v_th, got 2.0, 0.0 and 1.0",
    ),
    "a tensor": (lambda: LazyLIF(LIF())(torch.zeros(3)), TypeError, "LazyLIF takes Events or Spikes, got Tensor"),
    "another device": (
        lambda: LazyLIF(LIF())(stream().to("meta")),
        ValueError,
        "LazyLIF runs on the CPU, got events on meta",
    ),
    "other channels": (
        lambda: LazyLIF(LIF(), nn.Conv2d(3, 1, 3, bias=False))(stream()),
        ValueError,
        "the convolution takes 3 channels, but the events have 2",
    ),
    "another state": (
        lambda: LazyLIF(LIF())(stream(), LazyLIF(LIF()).initial_state((2, 3, 4))),
        ValueError,
        r"LazyState.v has shape \(2, 3, 4\), but the layer has shape \(2, 6, 7\)",
    ),
    "the past": (
        lambda: LazyLIF(LIF())(stream(), LazyLIF(LIF())(stream())[1]),
        ValueError,
        r"not before its state \(699\d+ us\)",
    ),
    "no order": (lambda: LazyLIF(LIF())(stream()[[2, 1]]), ValueError, "takes events in the order of time"),
    "after until": (lambda: LazyLIF(LIF())(stream(), until=500_100), ValueError, r"not after until \(500100 us\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_use_is_refused(case):
    make, error, message = BAD[case]
    with pytest.raises(error, match=message):
        make()


def test_spikes_say_their_shape():
    spikes, _ = LazyLIF(LIF())(Events.empty(SIZE))
    assert isinstance(spikes, Spikes)
    assert spikes.shape == (2, 6, 7)
    assert len(spikes.t) == 0
