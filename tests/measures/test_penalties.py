"""Penalties, by hand and in training."""

import pytest
import torch
from torch import nn

import geir
from geir import measures

F64 = torch.float64


def test_rate_penalties_are_squared_distances_from_the_band():
    zs = torch.zeros(100, 3, dtype=F64)
    # 20, 100 and 500 Hz.
    for neuron, spikes in enumerate((2, 10, 50)):
        zs[:spikes, neuron] = 1
    assert measures.rate_penalty(zs, lower=30.0, upper=400.0).item() == pytest.approx((10**2 + 100**2) / 3)
    assert measures.rate_penalty(zs, lower=100.0, upper=100.0).item() == pytest.approx((80**2 + 400**2) / 3)
    assert measures.rate_penalty(zs, dt=2e-3, upper=200.0).item() == pytest.approx(50**2 / 3)


def test_rate_penalties_apply_to_single_trains_or_to_the_mean_over_the_batch():
    # 0 and 200 Hz, which are 100 Hz on average.
    zs = torch.zeros(100, 2, 1, dtype=F64)
    zs[:20, 1] = 1
    assert measures.rate_penalty(zs.mean(1), 100.0, 100.0).item() == pytest.approx(0, abs=1e-20)
    assert measures.rate_penalty(zs, 100.0, 100.0).item() == pytest.approx(100**2)


def test_silence_activity_and_voltage_penalties_agree_with_values_by_hand():
    zs = torch.tensor([[0, 1, 1], [0, 0, 1], [0, 0, 1]], dtype=F64)
    assert measures.silence_penalty(zs).item() == pytest.approx(1 / 3)
    assert measures.silence_penalty(zs, min_spikes=2).item() == pytest.approx((4 + 1) / 3)
    assert measures.activity_penalty(zs).item() == pytest.approx(4 / 3)
    assert measures.activity_penalty(zs, power=2).item() == pytest.approx(10 / 3)
    vs = torch.tensor([[-2.0, 0.5], [1.5, 1.0]], dtype=F64)
    assert measures.voltage_penalty(vs).item() == pytest.approx((1 + 0.25) / 4)
    assert measures.voltage_penalty(vs, -0.5, 0.0).item() == pytest.approx((1.5**2 + 0.5**2 + 1.5**2 + 1) / 4)


@pytest.mark.parametrize(
    "penalty",
    [
        lambda zs: measures.rate_penalty(zs, 300.0, 500.0),
        lambda zs: measures.silence_penalty(zs, 3.0),
        lambda zs: measures.voltage_penalty(zs, 0.3, 0.6),
        lambda zs: measures.activity_penalty(zs, 2.0),
        lambda zs: measures.activity_penalty(zs),
    ],
)
def test_penalties_have_gradients(penalty):
    zs = torch.rand(6, 4, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(penalty, (zs,))
    assert torch.autograd.grad(penalty(zs), zs)[0].any()


def test_a_silent_layer_learns_to_fire_at_its_target_rate():
    linear = nn.Linear(10, 20)
    with torch.no_grad():
        linear.weight.mul_(0.05)
        linear.bias.zero_()
    model = geir.SequentialState(geir.Lift(linear), geir.LIF())
    xs = geir.encode.poisson(torch.full((4, 10), 0.9), 200, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    (zs, _), _ = measures.record_outputs(model, xs)
    assert not zs.any()
    for _ in range(60):
        optimizer.zero_grad()
        _, outputs = measures.record_outputs(model, xs)
        (measures.rate_penalty(outputs["1"].mean(1), 40.0, 60.0) / 50**2).backward()
        optimizer.step()
    rates = measures.firing_rate(model(xs)[0].mean(1))
    assert ((rates > 30) & (rates < 70)).all()


def test_accumulators_over_chunks_equal_sums_over_the_whole_run():
    lif = geir.LIF(record_states=True)
    xs = torch.rand(60, 3, dtype=torch.float32)
    zs, states = lif(xs)
    counts = potentials = None
    for start in range(0, 60, 20):
        chunk = geir.neurons.LIFState(*(part[start : start + 20] for part in states))
        counts = measures.spike_accumulator(zs[start : start + 20], counts)
        potentials = measures.voltage_accumulator(chunk, potentials)
    torch.testing.assert_close(counts, zs.sum(0))
    torch.testing.assert_close(potentials, states.v.sum(0))
    assert counts.sum() > 5


def test_recorded_outputs_are_those_of_the_network_and_have_gradients():
    model = geir.SequentialState(
        geir.Lift(nn.Linear(4, 6)),
        geir.LIF(v_th=0.1),
        geir.LIFRecurrent(6, 5, v_th=0.1),
        measures.ExponentialFilter(),
        return_hidden=True,
    )
    xs = torch.rand(20, 2, 4)
    (hidden, _), outputs = measures.record_outputs(model, xs)
    assert list(outputs) == ["1", "2", "3"]
    for index, name in ((1, "1"), (2, "2"), (3, "3")):
        assert torch.equal(outputs[name], hidden[index])
    outputs["1"].sum().backward()
    assert model[0].module.weight.grad.any()
    assert all(not module._forward_hooks for module in model.modules())


def test_recorded_outputs_of_cells_are_stacked_over_time():
    cells = geir.Lift(geir.SequentialState(nn.Linear(4, 6), geir.LIFCell(v_th=0.1)))
    (zs, _), outputs = measures.record_outputs(cells, torch.rand(20, 2, 4))
    assert torch.equal(outputs["module.1"], zs)
    assert zs.any()
    assert all(not module._forward_hooks for module in cells.modules())


class Nested(geir.Neuron):
    """A step that calls a cell, which a kernel supports."""

    inner: nn.Module = geir.setting(default=None, accepts=nn.Module, expected="a module")

    def rest(self):
        return geir.neurons.IAFState(torch.zeros(()))

    def step(self, x, state):
        return self.inner(x, state)


def test_calls_made_while_a_kernel_is_traced_are_not_recorded():
    (zs, _), outputs = measures.record_outputs(Nested(inner=geir.IAFCell()), torch.ones(5, 2, 3))
    assert list(outputs) == [""]
    assert torch.equal(outputs[""], zs)
    assert zs.any()


ZS = torch.zeros(4, 2)

INVALID = {
    "rate: negative lower bound": (
        lambda: measures.rate_penalty(ZS, lower=-1.0),
        ValueError,
        "rate_penalty: lower must not be negative, got -1.0 Hz",
    ),
    "rate: lower above upper": (
        lambda: measures.rate_penalty(ZS, 5.0, 1.0),
        ValueError,
        "rate_penalty: lower must not exceed upper, got lower=5.0 and upper=1.0",
    ),
    "voltage: lower above upper": (
        lambda: measures.voltage_penalty(ZS, 5.0, 1.0),
        ValueError,
        "voltage_penalty: lower must not exceed upper, got lower=5.0 and upper=1.0",
    ),
    "silence: no time dimension": (
        lambda: measures.silence_penalty(torch.tensor(1.0)),
        ValueError,
        r"silence_penalty expected .* \(time, ...\)",
    ),
    "activity: power below 1": (
        lambda: measures.activity_penalty(ZS, 0.5),
        ValueError,
        "activity_penalty: power must be at least 1 and finite, got 0.5",
    ),
    "spike accumulator: two shapes": (
        lambda: measures.spike_accumulator(ZS, torch.zeros(3)),
        ValueError,
        r"spike_accumulator: total has shape \(3,\), but one step of input has shape \(2,\)",
    ),
    "voltage accumulator: state without potential": (
        lambda: measures.voltage_accumulator((1, 2)),
        TypeError,
        "expected a state with a membrane potential `v`, or a tensor of potentials, got tuple",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_input_raises(case):
    call, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        call()
