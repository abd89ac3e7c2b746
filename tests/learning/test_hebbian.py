"""Differentiable plasticity."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import geir
from geir.learning import hebb, HebbianLayer, HebbianState, oja


def layer(recurrent=False, rule=hebb, neuron=None, **options):
    torch.manual_seed(0)
    size = 4 if recurrent else 3
    made = HebbianLayer(
        nn.Linear(size, 4), neuron or geir.LIF(v_th=0.1), eta=0.1, recurrent=recurrent, rule=rule, **options
    )
    nn.init.normal_(made.alpha, std=0.5)
    nn.init.uniform_(made.connection.weight, 0.0, 0.6)
    nn.init.constant_(made.connection.bias, 0.1)
    return made.double()


def inputs(recurrent=False):
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(30, 2, 4 if recurrent else 3, generator=generator) < 0.4).double()


def published(model, xs, dt=1e-3, tau_mem=10e-3, v_th=0.2):
    """Miconi et al. 2018 with leaky integrate-and-fire neurons, in NumPy, one sample."""
    W, b, alpha = (p.detach().numpy() for p in (model.connection.weight, model.connection.bias, model.alpha))
    eta, decay = model.eta.item(), np.exp(-dt / model.tau.item())
    v, z, H = np.zeros(4), np.zeros(4), np.zeros_like(W)
    pre, post, zs = np.zeros(W.shape[1]), np.zeros(4), []
    for x in xs.numpy():
        source = z if model.recurrent else x
        current = (W + alpha * H) @ source + b + (x if model.recurrent else 0)
        v = v + (1 - np.exp(-dt / tau_mem)) * (current - v)
        z = (v > v_th).astype(float)
        v = v * (1 - z)
        pre, post = decay * pre + source, decay * post + z
        for j in range(4):
            for i in range(W.shape[1]):
                y, x_i = post[j], pre[i]
                H[j, i] += eta * (y * x_i - H[j, i]) if model.rule is hebb else eta * y * (x_i - y * H[j, i])
        zs.append(z)
    return np.array(zs), H


@pytest.mark.parametrize("rule", [hebb, oja])
@pytest.mark.parametrize("recurrent", [False, True])
def test_output_and_trace_are_those_of_the_published_equations(recurrent, rule):
    model = layer(recurrent, rule, geir.LIFBox(v_th=0.2))
    xs = 2 * inputs(recurrent)
    zs, state = model(xs)
    assert zs.sum() > 20
    for k in range(2):
        expected, H = published(model, xs[:, k])
        np.testing.assert_array_equal(zs[:, k].detach(), expected)
        np.testing.assert_allclose(state.trace[k].detach(), H, rtol=1e-10, atol=1e-12)
    assert state.trace.abs().max() > 0.1


def test_without_plastic_weights_it_is_an_ordinary_layer():
    model, xs = layer(), inputs()
    nn.init.zeros_(model.alpha)
    zs, _ = model(xs)
    expected, _ = geir.SequentialState(geir.Lift(model.connection), model.neuron)(xs)
    assert zs.sum() > 5
    torch.testing.assert_close(zs, expected, rtol=0, atol=0)
    # A recurrent layer is `Recurrent` with the same weights.
    model, xs = layer(recurrent=True), inputs(recurrent=True)
    nn.init.zeros_(model.alpha)
    recurrent = geir.Recurrent(
        geir.LIF(v_th=0.1), 4, 4, input_weights=torch.eye(4), recurrent_weights=model.connection, autapses=True
    ).double()
    zs, _ = model(xs)
    expected, _ = recurrent(xs)
    assert zs.sum() > 5
    torch.testing.assert_close(zs, expected, rtol=0, atol=0)


@pytest.mark.parametrize("rule", [hebb, oja])
@pytest.mark.parametrize("recurrent", [False, True])
def test_gradients_agree_with_finite_differences(recurrent, rule):
    smooth = geir.LIF(
        v_th=0.1, surrogate=lambda x: torch.sigmoid(4 * x), reset_mechanism=geir.ResetToValue(detach=False)
    )
    model = layer(recurrent, rule, smooth)
    xs = inputs(recurrent)[:6].requires_grad_()
    names = [name for name, _ in model.named_parameters()]
    assert set(names) == {"connection.weight", "connection.bias", "alpha", "logit_eta"}

    def run(xs, *values):
        zs, state = torch.func.functional_call(model, dict(zip(names, values, strict=True)), (xs,))
        return zs, state.trace

    leaves = [p.detach().clone().requires_grad_() for p in model.parameters()]
    assert torch.autograd.gradcheck(run, (xs, *leaves))


@pytest.mark.parametrize("neuron", [geir.LIF(v_th=0.1), geir.ALIF(v_th=0.1), geir.Refractory(geir.LIF(v_th=0.1))])
def test_a_run_equals_two_half_runs_and_samples_do_not_mix(neuron):
    model, xs = layer(neuron=neuron), 2 * inputs()
    zs, end = model(xs)
    first, state = model(xs[:11])
    second, last = model((xs[11:], None), state)
    assert zs.sum() > 5
    torch.testing.assert_close(torch.cat([first, second]), zs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last, end, rtol=1e-12, atol=1e-12)
    alone, _ = model(xs[:, :1])
    torch.testing.assert_close(alone, zs[:, :1], rtol=1e-12, atol=1e-12)


def test_it_works_in_a_sequence_and_is_saved():
    model = geir.SequentialState(layer(neuron=geir.LIF(v_th=0.1)), geir.Lift(nn.Linear(4, 2)), geir.LI()).double()
    xs = inputs()
    ys, state = model(xs)
    assert isinstance(state[0], HebbianState)
    torch.testing.assert_close(model(xs, state)[0].shape, ys.shape)
    twin = copy.deepcopy(model)
    for p in twin.parameters():
        nn.init.zeros_(p)
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(twin(xs)[0], ys, rtol=0, atol=0)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(model(xs, state)[0], ys)


def test_traces_stay_in_single_precision():
    model, xs = layer().float(), inputs().float()
    _, expected = model(xs)
    zs, state = model.bfloat16()(xs.bfloat16())
    assert zs.dtype == torch.bfloat16
    assert {part.dtype for part in (state.trace, state.pre, state.post)} == {torch.float32}
    assert expected.trace.abs().max() > 0.1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, state = model.float()(xs)
    assert state.trace.dtype == torch.float32


def test_training_makes_a_layer_that_learns_associations_by_itself():
    """Two cues are shown with a partner each, which is drawn for every episode; then one cue recalls its partner."""
    torch.manual_seed(0)
    neuron = geir.LIF(v_th=0.3, surrogate=geir.surrogates.ATan())
    model = HebbianLayer(nn.Linear(4, 4, bias=False), neuron, recurrent=True, tau=5e-3)
    nn.init.zeros_(model.connection.weight)

    def episodes(batch):
        swap, asked, rows = torch.rand(batch) < 0.5, torch.randint(2, (batch,)), torch.arange(batch)
        xs = torch.zeros(55, batch, 4)
        xs[:15, :, 0] = xs[20:35, :, 1] = 0.5
        xs[:15, rows, 2 + swap.long()] = xs[20:35, rows, 3 - swap.long()] = 0.5
        xs[40:, rows, asked] = 0.5
        return xs, (asked.bool() ^ swap).long()

    def recall(xs):
        zs, _ = model(xs)
        return zs[40:, :, 2:].sum(0)

    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(80):
        xs, labels = episodes(32)
        loss = nn.functional.cross_entropy(recall(xs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        xs, labels = episodes(200)
        plastic = (recall(xs).argmax(1) == labels).float().mean()
        model.alpha.zero_()
        fixed = (recall(xs).argmax(1) == labels).float().mean()
    assert plastic > 0.9
    assert fixed < 0.65


def test_bad_input_raises():
    with pytest.raises(TypeError, match=r"HebbianLayer.connection must be a linear layer, nn.Linear\(2, 3\), got"):
        HebbianLayer(nn.Conv2d(1, 1, 3), geir.LIF())
    with pytest.raises(TypeError, match="HebbianLayer.neuron must be a neuron"):
        HebbianLayer(nn.Linear(3, 4), nn.ReLU())
    with pytest.raises(TypeError, match="HebbianLayer takes a neuron over time"):
        HebbianLayer(nn.Linear(3, 4), geir.LIFCell())
    with pytest.raises(ValueError, match="a recurrent connection must be square, got 3 inputs and 4 outputs"):
        HebbianLayer(nn.Linear(3, 4), geir.LIF(), recurrent=True)
    with pytest.raises(ValueError, match="HebbianLayer.eta must be < 1"):
        HebbianLayer(nn.Linear(3, 4), geir.LIF(), eta=1.5)
    model = layer()
    with pytest.raises(
        ValueError, match=r"expected input of shape \(time, ..., 3\) with at least one step, got \(5, 2\)"
    ):
        model(torch.rand(5, 2).double())
    with pytest.raises(ValueError, match="with at least one step"):
        model(torch.rand(0, 2, 3).double())
    with pytest.raises(TypeError, match="HebbianLayer expected floating-point input"):
        model(torch.ones(5, 2, 3, dtype=torch.long))
    with pytest.raises(TypeError, match="HebbianLayer expected a HebbianState, got LIFState"):
        model(inputs(), geir.LIF().initial_state(torch.zeros(2, 4)))
    with pytest.raises(ValueError, match=r"trace has shape \(2, 4, 3\), but this input needs \(5, 4, 3\)"):
        model(torch.rand(3, 5, 3).double(), model(inputs())[1])
