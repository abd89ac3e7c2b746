"""Counts of operations, spikes and memory, against loops over spikes and numbers by hand."""

import math

import pytest
import torch
from spike_trains import random_spikes
from torch import nn

import geir
from geir.hardware import count, ENERGY_MODELS, EnergyModel, from_ann, LayerCounts, NeuronCounts, record_energy


def synops(weight, x):
    """One operation for each input that is not zero and each weight that it meets: a loop over everything."""
    return sum(
        1
        for sample in x.flatten(0, -2).tolist()
        for k, value in enumerate(sample)
        for row in weight.tolist()
        if value != 0 and row[k] != 0
    )


def test_a_network_is_counted_like_loops_over_its_spikes():
    torch.manual_seed(0)
    model = geir.SequentialState(
        geir.Lift(nn.Linear(5, 8)),
        geir.LIF(v_th=0.3),
        geir.LIFRecurrent(8, 6, v_th=0.2),
        geir.Lift(nn.Linear(6, 2)),
        geir.LI(),
    )
    with torch.no_grad():
        model[0].module.weight.mul_(10)[:, 1] = 0
    xs = random_spikes(20, 3, 5).float()
    counts = count(model, xs)
    model.return_hidden = True
    outputs, states = model(xs)
    first, second = outputs[1], outputs[2]
    assert min(first.sum(), second.sum()) > 20
    weight = model[0].module.weight
    assert counts.connections == {
        "0.module": LayerCounts(int(xs.sum()), synops(weight, xs), 0, 20 * 3 * 40, 32),
        "2.input_weights": LayerCounts(int(first.sum()), synops(model[2].input_weights, first), 0, 20 * 3 * 48, 48),
        # No neuron reaches itself, and the last spikes reach nobody in this run.
        "2.recurrent_weights": LayerCounts(int(second[:-1].sum()), 5 * int(second[:-1].sum()), 0, 20 * 3 * 36, 30),
        "3.module": LayerCounts(int(second.sum()), 2 * int(second.sum()), 0, 20 * 3 * 12, 12),
    }
    assert counts.neurons == {
        "1": NeuronCounts(8, 480, int(first.sum()), int(first.sum())),
        "2": NeuronCounts(6, 360, int(second.sum()), int(second.sum())),
        "4": NeuronCounts(2, 120, 0, 0),
    }
    assert counts.samples == 3
    assert counts.spikes == int(first.sum() + second.sum())
    assert counts.accumulates == sum(layer.accumulates for layer in counts.connections.values())
    # Two parts for LIF, three for a recurrent one, two for LI; four bytes each.
    assert counts.state_bytes == 4 * (2 * 8 + 3 * 6 + 2 * 2)
    assert counts.weight_bytes == sum(4 * t.numel() for t in (*model.parameters(), *model.buffers()))


@pytest.mark.parametrize(
    ("values", "binary"),
    [([0.0, 1.0, 1.0], True), ([0.0, 1.0, -1.0], True), ([0.0, 2.0, 1.0], False), ([0.5, 0.0, 0.0], False)],
)
def test_operations_on_other_inputs_than_spikes_are_multiply_accumulates(values, binary):
    model = geir.SequentialState(nn.Linear(3, 4), geir.LIF(), lift=True)
    layer = count(model, torch.tensor([[values], [[1.0, 1.0, 1.0]]])).connections["0"]
    operations = 4 * (sum(value != 0 for value in values) + 3)
    assert (layer.accumulates, layer.multiply_accumulates) == ((operations, 0) if binary else (0, operations))


def test_one_input_that_is_not_a_spike_makes_a_cell_multiply_as_it_makes_a_layer():
    torch.manual_seed(0)
    linear = nn.Linear(3, 4)
    nn.init.uniform_(linear.weight, 1.0, 3.0)
    xs = random_spikes(6, 2, 3).float()
    xs[4, 0, 0] = 0.5
    stepped = geir.Lift(geir.SequentialState(linear, geir.LIFCell()))
    whole = geir.SequentialState(geir.Lift(linear), geir.LIF())
    cells, layers = count(stepped, xs), count(whole, xs)
    assert list(cells.connections.values()) == list(layers.connections.values())
    assert list(cells.neurons.values()) == list(layers.neurons.values())
    assert cells.multiply_accumulates == 4 * int(xs.count_nonzero())
    assert cells.spikes > 5
    assert (cells.accumulates, cells.state_bytes) == (0, layers.state_bytes)


def test_counts_of_parts_add_up():
    torch.manual_seed(0)
    model = geir.SequentialState(geir.LIFRecurrent(4, 6), nn.Linear(6, 3), geir.IAF(), lift=True)
    xs = 3 * random_spikes(30, 2, 4).float()
    whole = count(model, xs)
    _, state = model(xs[:11])
    parts = count(model, xs[:11]), count(model, xs[11:], state)
    assert whole.spikes > 20
    for name, layer in whole.connections.items():
        sums = [sum(values) for values in zip(*(part.connections[name] for part in parts), strict=True)]
        assert list(layer[:4]) == sums[:4]
    assert whole.spikes == sum(part.spikes for part in parts)


def test_several_spikes_in_a_step_are_counted_but_the_neuron_is_active_once():
    neuron = geir.IAF(surrogate=geir.surrogates.MultiSpike(), reset_mechanism=geir.ResetBySubtraction())
    xs = torch.tensor([[[3.5, 0.2]], [[0.0, 0.9]]])
    zs, _ = neuron(xs)
    assert zs.sum() > zs.count_nonzero() > 0
    assert count(neuron, xs).neurons[""] == NeuronCounts(2, 4, int(zs.count_nonzero()), int(zs.sum()))


def test_negative_spikes_are_counted_like_positive_ones():
    neuron = geir.IAF(surrogate=geir.surrogates.TernarySpike(), reset_mechanism=geir.ResetBySubtraction())
    xs = torch.tensor([[[3.5, 0.2]], [[-6.0, -1.9]]])
    assert neuron(xs)[0].tolist() == [[[1, 0]], [[-1, -1]]]
    assert count(neuron, xs).neurons[""] == NeuronCounts(2, 4, 3, 3)


def test_recorded_states_take_no_more_memory_on_a_chip():
    xs = torch.ones(7, 3, 4)
    plain, recorded = geir.LIF(), geir.LIF(record_states=True)
    assert count(recorded, xs).state_bytes == count(plain, xs).state_bytes == 4 * 2 * 4
    assert count(geir.LIF().double(), xs.double()).state_bytes == 8 * 2 * 4


def test_a_wrapped_neuron_is_one_layer():
    xs = 3 * torch.ones(10, 2, 4)
    counts = count(geir.SequentialState(geir.Refractory(geir.LIF(), period=3e-3)), xs)
    assert list(counts.neurons) == ["0"]
    assert 0 < counts.spikes == counts.neurons["0"].active


def test_a_constant_input_is_counted_in_every_step():
    model = geir.SequentialState(nn.Conv2d(1, 2, 3), geir.LIF(), lift=True)
    x = torch.ones(2, 1, 5, 5)
    layer = count(model, x.expand(6, *x.shape)).connections["0"]
    assert layer == LayerCounts(6 * 2 * 25, 6 * 2 * 2 * 9 * 9, 0, 6 * 2 * 2 * 9 * 9, 18)


def test_energy_is_numbers_times_constants_for_one_sample():
    model = geir.SequentialState(nn.Linear(5, 8), geir.LIF(v_th=0.2), lift=True)
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    xs = random_spikes(20, 3, 5).float()
    loihi = count(model, xs, target="loihi")
    spikes = int(model(xs)[0].sum())
    assert 0 < spikes < 480
    # 23.6 pJ for a synaptic operation, 81 and 52 pJ for updates with and without a spike, 1.7 pJ for a spike.
    expected = (8 * int(xs.sum()) * 23.6 + spikes * 81 + (480 - spikes) * 52 + spikes * 1.7) * 1e-12 / 3
    assert loihi.energy.total == pytest.approx(expected, rel=1e-12)
    assert loihi.energy.excluded == ()
    numbers = count(model, 0.5 * xs, target="cmos45-float32")
    assert numbers.energy.total == pytest.approx(8 * int(xs.sum()) * 4.6e-12 / 3, rel=1e-12)
    assert count(model, xs, target="cmos45-float32").energy.total == pytest.approx(8 * int(xs.sum()) * 0.9e-12 / 3)
    mine = EnergyModel(accumulate=1.0, spike=2.0, source="by hand")
    assert count(model, xs, target=mine).energy.total == pytest.approx((8 * int(xs.sum()) + 2 * spikes) / 3)


def test_connections_that_a_target_has_no_energy_for_are_named():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    x = torch.randn(10, 4)
    spiking = from_ann(model, x)
    counts = count(spiking, x.expand(8, *x.shape), target="truenorth")
    assert counts.energy.excluded == ("0",)
    assert counts.energy.total == pytest.approx(counts.connections["2"].accumulates * 26e-12 / 10)
    text = str(counts)
    assert "not included, since their inputs are not spikes: 0" in text
    assert f"{counts.accumulates:,}" in text
    assert "Merolla" in text


def test_scales_of_a_converted_network_are_counted():
    # Two units with thresholds of their own are pooled together: a multiplication each.
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.AvgPool1d(2), nn.Linear(3, 2))
    torch.manual_seed(0)
    x = torch.randn(10, 4)
    spiking = from_ann(model, x, per_channel=True)
    counts = count(spiking, x.expand(8, *x.shape))
    assert counts.connections["1_scale"].accumulates == counts.neurons["1"].spikes > 0


@pytest.mark.parametrize("name", ENERGY_MODELS)
def test_every_constant_has_a_source(name):
    energy = ENERGY_MODELS[name]
    assert energy.accumulate > 0
    assert any(year in energy.source for year in ("2014", "2018", "2023"))


@pytest.mark.parametrize(
    ("xs", "target", "message"),
    [
        (torch.ones(3), None, r"expected an input of shape \(time, batch, ...\), got \(3,\)"),
        (torch.ones(0, 2, 3), None, r"expected an input of shape \(time, batch, ...\), got \(0, 2, 3\)"),
        ([1, 2], None, "expected an input of shape .* got list"),
        (torch.full((2, 2, 3), math.nan), None, "the input contains NaN or infinity"),
        (torch.ones(2, 2, 3), "abacus", "count knows the energies of cmos45-float32, .*, not 'abacus'; pass a"),
    ],
)
def test_bad_input_is_refused(xs, target, message):
    with pytest.raises(ValueError, match=message):
        count(geir.LIF(), xs, target=target)


def test_a_module_whose_operations_are_not_known_is_refused_by_name():
    with pytest.raises(TypeError, match=r"0 \(LSTM\) has weight_ih_l0"):
        count(geir.SequentialState(nn.LSTM(3, 4)), torch.ones(2, 2, 3))


@pytest.mark.parametrize("target", ["loihi", "cmos45-float32", EnergyModel(1.0, "mine", 7.0, 3.0, 2.0, 5.0)], ids=str)
def test_recorded_energy_is_the_estimate_and_its_gradient_follows_the_spikes(target):
    torch.manual_seed(0)
    model = geir.SequentialState(
        nn.Linear(5, 6), geir.LIF(v_th=0.3), geir.LIFRecurrent(6, 4, v_th=0.2), nn.Linear(4, 2), geir.LI(), lift=True
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.rand(6, 5))
    xs = random_spikes(20, 3, 5).float()
    (ys, _), energy = record_energy(model, xs, target)
    torch.testing.assert_close(ys, model(xs)[0])
    assert energy.item() == pytest.approx(count(model, xs, target=target).energy.total, rel=1e-6)
    energy.backward()
    # More drive is more spikes.
    assert (model[0].bias.grad > 0).any()


def test_recorded_energy_refuses_an_unknown_target():
    with pytest.raises(ValueError, match="record_energy knows the energies of .*, not 'abacus'"):
        record_energy(geir.LIF(), torch.ones(2, 2, 3), "abacus")
    with pytest.raises(ValueError, match=r"record_energy expected an input of shape \(time, batch"):
        record_energy(geir.LIF(), torch.ones(3), "loihi")
