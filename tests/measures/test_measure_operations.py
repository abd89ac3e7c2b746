"""Counts of synaptic operations, against loops over synapses."""

import itertools

import pytest
import torch
from seeding import seeded
from spike_trains import random_spikes
from torch import nn

import geir
from geir.connections import constrain_signs
from geir.measures import count_operations, OperationCounts, record_operations
from geir.testing import close


def taps(conv, shape):
    """Every multiplication of a 2D convolution, as (input channel, row, column) of the input, by explicit loops."""
    channels, height, width = shape
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = conv.kernel_size, conv.stride, conv.padding, conv.dilation
    rows = (height + 2 * ph - dh * (kh - 1) - 1) // sh + 1
    columns = (width + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    in_per_group = channels // conv.groups
    out_per_group = conv.out_channels // conv.groups
    for o, i, r, c, a, b in itertools.product(
        range(conv.out_channels), range(in_per_group), range(rows), range(columns), range(kh), range(kw)
    ):
        y = r * sh + a * dh - ph
        x = c * sw + b * dw - pw
        if 0 <= y < height and 0 <= x < width:
            yield o // out_per_group * in_per_group + i, y, x


@pytest.mark.parametrize(
    "conv",
    seeded(
        lambda: [
            nn.Conv2d(2, 3, 3),
            nn.Conv2d(2, 4, 3, padding=1, bias=False),
            nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2),
            nn.Conv2d(2, 3, (2, 3), stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
        ]
    ),
    ids=repr,
)
def test_a_convolution_is_counted_like_its_loops(conv):
    xs = random_spikes(2, 2, 2, 6, 7).float()
    actual = count_operations(geir.Lift(conv), xs)
    every = list(taps(conv, (2, 6, 7)))
    synops = sum(int(sample[index]) for sample in xs.flatten(0, 1) for index in every)
    assert actual == {"module": OperationCounts(int(xs.sum()), synops, 4 * len(every))}


def test_a_transposed_convolution_is_counted_like_its_loops():
    conv = nn.ConvTranspose1d(2, 3, 4, stride=2, padding=1)
    x = random_spikes(5, 2, 6).float()
    length = (6 - 1) * 2 - 2 + 4
    reached = [(t, k) for t, k in itertools.product(range(6), range(4)) if 0 <= 2 * t + k - 1 < length]
    synops = sum(3 * int(sample[:, t].sum()) for sample in x for t, _ in reached)
    assert count_operations(conv, x) == {"": OperationCounts(int(x.sum()), synops, 5 * 2 * 3 * len(reached))}


def test_a_network_is_counted_by_spikes_times_fan_out_and_left_unchanged():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice = nn.Linear(8, 8)

        def forward(self, x):
            return x + self.twice(input=self.twice(x))

    model = geir.SequentialState(
        geir.Lift(nn.Linear(6, 8)),
        geir.LIF(),
        geir.Lift(Residual()),
        nn.LayerNorm((3, 8)),
        geir.LIFRecurrent(8, 5),
        geir.LI(),
    )
    with torch.no_grad():
        model[0].module.weight[:, 2] = 0  # no synapses
        model[0].module.weight.mul_(10)
    xs = 2 * random_spikes(20, 3, 6).float()
    before = model.state_dict()
    counts = count_operations(model, xs)
    model.return_hidden = True
    outputs, _ = model(xs)
    assert list(counts) == ["0.module", "2.module.twice", "4.input_weights", "4.recurrent_weights"]
    events = int((xs != 0).sum())
    without_synapses = int((xs[..., 2] != 0).sum())
    assert counts["0.module"] == OperationCounts(events, 8 * (events - without_synapses), 20 * 3 * 6 * 8)
    inner = int((outputs[1] != 0).sum() + (model[2].module.twice(outputs[1]) != 0).sum())
    assert counts["2.module.twice"] == OperationCounts(inner, 8 * inner, 2 * 20 * 3 * 8 * 8)
    inputs = int((outputs[3] != 0).sum())
    assert counts["4.input_weights"] == OperationCounts(inputs, 5 * inputs, 20 * 3 * 8 * 5)
    fed_back = int(outputs[4][:-1].sum())
    assert fed_back > 10
    # Neurons do not feed back to themselves.
    assert counts["4.recurrent_weights"] == OperationCounts(fed_back, 4 * fed_back, 20 * 3 * 5 * 5)
    assert all(not module._forward_hooks for module in model.modules())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))


def test_counts_of_cells_and_of_chunks_add_up():
    layer = geir.LIFRecurrent(4, 6, autapses=True)
    cell = geir.LIFRecurrentCell(
        4, 6, autapses=True, input_weights=layer.input_weights, recurrent_weights=layer.recurrent_weights
    )
    xs = 3 * random_spikes(30, 2, 4).float()
    whole = count_operations(layer, xs)
    stepped = count_operations(geir.Lift(cell), xs)
    assert {f"module.{name}": counts for name, counts in whole.items()} == stepped
    assert whole["recurrent_weights"].events > 10
    _, state = layer(xs[:11])
    chunks = count_operations(layer, xs[:11]), count_operations(layer, xs[11:], state)
    added = {name: OperationCounts(*map(sum, zip(*(chunk[name] for chunk in chunks), strict=True))) for name in whole}
    assert added == whole


def test_masked_autapses_are_not_counted():
    shared = torch.nn.Parameter(torch.ones(6, 6))
    xs = 3 * random_spikes(30, 2, 4).float()
    masked = count_operations(geir.LIFRecurrent(4, 6, recurrent_weights=shared), xs)["recurrent_weights"]
    assert masked.events > 10
    assert masked.synops == 5 * masked.events


def test_recurrent_connections_that_are_modules_are_counted_once():
    layer = geir.LIFRecurrent(4, 6, autapses=True)
    modules = [nn.Linear(4, 6), nn.Linear(6, 6, bias=False)]
    with torch.no_grad():
        modules[0].weight.copy_(layer.input_weights)
        modules[0].bias.zero_()
        modules[1].weight.copy_(layer.recurrent_weights)
    xs = 3 * random_spikes(30, 2, 4).float()
    with_modules = geir.LIFRecurrent(4, 6, autapses=True, input_weights=modules[0], recurrent_weights=modules[1])
    assert count_operations(with_modules, xs) == count_operations(layer, xs)


class Dense(geir.Neuron):
    """A step that calls a module, which no kernel supports."""

    mixing: nn.Module = geir.setting(default=None, accepts=nn.Module, expected="a module")

    def rest(self):
        return geir.neurons.IAFState(torch.zeros(()))

    def step(self, x, state):
        return self.surrogate(self.mixing(x)), state


def test_calls_made_by_a_failed_attempt_to_trace_are_not_counted():
    with pytest.warns(RuntimeWarning, match="Dense runs on the reference loop"):
        counts = count_operations(Dense(mixing=nn.Linear(3, 3)), torch.ones(5, 2, 3))
    assert counts == {"mixing": OperationCounts(30, 90, 90)}


def test_existing_connections_alone_are_counted():
    mask = torch.tensor([[1, 0, 1], [0, 0, 1]])
    counts = count_operations(geir.connections.SparseLinear(3, 2, mask=mask), torch.tensor([[1.0, 1, 0], [0, 0, 1]]))
    assert list(counts.values()) == [OperationCounts(events=3, synops=3, macs=6)]


XS = torch.zeros(4, 2)

UNSUPPORTED = {
    "LSTM": (
        lambda: count_operations(nn.Sequential(nn.LSTM(2, 3)), XS),
        r"but 0 \(LSTM\) has weight_ih_l0, weight_hh_l0",
    ),
    "delays": (
        lambda: count_operations(geir.connections.DelayedLinear(2, 2), XS),
        r"cannot count the operations of the model \(DelayedLinear\), which has delays",
    ),
    "embedding": (
        lambda: count_operations(nn.Embedding(3, 2), XS.long()),
        r"multiplies a floating-point input, but the model \(Embedding\) has weight",
    ),
    "recurrent neuron inside a wrapper": (
        lambda: count_operations(geir.Refractory(geir.LIFRecurrent(2, 2), unroll=geir.reference), XS),
        r"cannot see the recurrent weights inside the model \(Refractory\); .* with Recurrent\(...\)",
    ),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_modules_with_unknown_operations_raise(case):
    call, message = UNSUPPORTED[case]
    with pytest.raises(TypeError, match=message):
        call()


def fan_outs(module, x):
    """The number of outputs that each input reaches: those that change when it does."""
    found = torch.zeros_like(x)
    for index in itertools.product(*map(range, x.shape)):
        changed = x.clone()
        changed[index] += 1000
        found[index] = (module(changed) - module(x)).ne(0).sum()
    return found


@pytest.mark.parametrize(
    "module",
    seeded(lambda: [nn.Linear(3, 4), nn.Conv2d(2, 3, 3, padding=1, stride=2), constrain_signs(nn.Linear(3, 4))]),
    ids=["linear", "conv", "constrained"],
)
def test_recorded_operations_are_those_counted_and_their_gradient_is_the_fan_out(module):
    torch.manual_seed(0)
    shape = (2, 3) if isinstance(module, nn.Linear) else (2, 2, 4, 5)
    x = (torch.rand(shape) < 0.4).float() * torch.tensor([1.0, -1.0, 2.0])[torch.randint(3, shape)]
    x.requires_grad_()
    result, synops = record_operations(module, x)
    close(result, module(x), 0.0)
    assert synops[""].item() == count_operations(module, x)[""].synops > 0
    (gradient,) = torch.autograd.grad(synops[""], x)
    close(gradient, fan_outs(module, x.detach()) * x.detach().sign())


def test_a_penalty_on_operations_silences_the_neurons_with_the_most_synapses():
    torch.manual_seed(0)
    model = geir.SequentialState(nn.Linear(5, 6), geir.LIF(v_th=0.3), nn.Linear(6, 8), geir.LI(), lift=True)
    with torch.no_grad():
        model[0].weight.copy_(torch.rand(6, 5))
        model[2].weight[:, :3] = 0
    xs = (torch.rand(40, 3, 5) < 0.5).float()
    _, synops = record_operations(model, xs)
    assert synops["2"] > 100
    synops["2"].backward()
    assert (model[0].bias.grad[3:] > 0).all()
    assert (model[0].bias.grad[:3] == 0).all()
