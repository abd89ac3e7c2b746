"""Small networks in continuous time for tests, and central finite differences of their losses."""

import torch

import geir
from geir.learning import SpikeTimeLayer

GENERIC = {"tau_mem": 0.011, "tau_syn": 0.006}
EQUAL = {"tau_mem": 0.008, "tau_syn": 0.008}
DOUBLE = {"tau_mem": 0.01, "tau_syn": 0.005}
HALF = {"tau_mem": 0.005, "tau_syn": 0.01}
# Neuron, its parameters, strength of the input weights.
NEURONS = {
    "LIF": (geir.LIF, GENERIC, 4.0),
    "LIF with equal time constants": (geir.LIF, EQUAL, 3.0),
    "LIF with tau_mem = 2 tau_syn": (geir.LIF, DOUBLE, 4.0),
    "LIF with tau_syn = 2 tau_mem": (geir.LIF, HALF, 2.0),
    "ALIF": (geir.ALIF, {**GENERIC, "tau_adapt": 0.1}, 6.0),
    "ALIF with equal time constants": (geir.ALIF, {**EQUAL, "tau_adapt": 0.1}, 5.0),
    "AlphaLIF": (geir.AlphaLIF, GENERIC, 2.0),
    "ResonateAndFire": (geir.ResonateAndFire, {"v_reset": 0.0}, 3.0),
    "LIFBox": (geir.LIFBox, {"v_rest": 1.2}, 2.0),
    "CubaLIF": (geir.CubaLIF, {}, 25.0),
}


def learned(cls, values, **settings):
    """A neuron in float64 whose parameters are all learned."""
    values = {name: values.get(name, declared.default) for name, declared in cls.declarations().items()}
    parameters = {name: torch.nn.Parameter(torch.tensor(value, dtype=torch.float64)) for name, value in values.items()}
    return cls(**parameters, **settings)


def network(name="LIF", size=4, inputs=6, count=25, feedback=0.3, delays=0.0, seed=1, batch=2, end=0.08, **settings):
    """A recurrent layer in float64 and its input; everything is differentiable."""
    g = torch.Generator().manual_seed(seed)
    cls, values, strength = NEURONS[name]

    def parameter(scale, *shape, draw=torch.rand):
        return torch.nn.Parameter(scale * draw(*shape, generator=g, dtype=torch.float64))

    weight = parameter(strength, size, inputs)
    # Feedback is in proportion to the input.
    recurrent_weight = parameter(feedback * strength / 4, size, size, draw=torch.randn)
    lags = {}
    if delays:
        lags = {"delay": parameter(delays, size, inputs), "recurrent_delay": parameter(delays, size, size)}
    neuron = settings.pop("neuron", None) or learned(cls, values)
    settings = {"duration": 0.1, "max_spikes": 1000} | settings
    layer = SpikeTimeLayer(inputs, size, neuron, recurrent=True, **lags, **settings)
    layer.weight, layer.recurrent_weight = weight, recurrent_weight
    times = (end * torch.rand(batch, count, generator=g, dtype=torch.float64)).sort().values.requires_grad_()
    units = torch.randint(inputs, (batch, count), generator=g)
    return layer, times, units


def timing_loss(run):
    """A loss to which every spike contributes its own slope, and every state that was read."""
    times = run.spikes.times
    loss = torch.sin(300 * times[times.isfinite()]).sum() / 300
    if run.states is not None:
        loss = loss + sum((0.5 * part**2).sum() for part in run.states)
    return loss


def finite_difference(evaluate, tensor, place, step):
    """The derivative to fourth order in the step; the spikes must be the same ones on both sides."""
    flat, found = tensor.data.view(-1), []
    kept = flat[place].item()
    for shift in (1, -1, 2, -2):
        flat[place] = kept + shift * step
        found.append(evaluate())
    flat[place] = kept
    assert len({tuple(totals) for _, totals in found}) == 1, "a spike came or went"
    a, b, c, d = (value for value, _ in found)
    return (8 * (a - b) - (c - d)) / (12 * step)
