"""A spiking network is a PyTorch module: parameters, optimizers, state dicts, copies, dtypes and devices."""

import copy
import io
import pickle

import pytest
import torch
from hypothesis import given, settings, strategies as st
from small_networks import LABELS, network, spike_counts, XS
from torch import nn

import geir
from geir import LIF, LIFRecurrent
from geir._util.state import leaves


def test_input_is_strong_enough_for_these_tests():
    assert all(count > 20 for count in spike_counts(network()))


def test_parameters_and_buffers_are_listed():
    assert set(dict(network().named_parameters())) == {
        "0.module.weight",
        "0.module.bias",
        "1.log_tau_mem",
        "2.input_weights",
        "2.recurrent_weights",
        "3.module.weight",
        "3.module.bias",
    }
    assert {"1.tau_syn", "1.v_th", "2.tau_mem", "4.tau_mem"} <= set(dict(network().named_buffers()))


def test_optimizer_trains_all_parameters_and_no_buffer():
    model = network()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        loss = geir.decode.max_potential_loss(model(XS)[0], LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(dict(model.named_parameters()))


def test_learnable_time_constants_stay_positive_with_a_large_learning_rate():
    lif = LIF(tau_mem=geir.learnable(2e-3), tau_syn=geir.learnable(torch.full((5,), 5e-3)))
    optimizer = torch.optim.SGD(lif.parameters(), lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        lif(XS)[1].v.sum().backward()
        optimizer.step()
        assert lif.tau_mem > 0
        assert (lif.tau_syn > 0).all()


def test_learnable_parameter_with_two_bounds_stays_between_them():
    class Bounded(LIF):
        share: geir.Parameter = geir.parameter(default=0.5, at_least=-1.0, below=2.0)

    neuron = Bounded(share=geir.learnable(0.3))
    assert set(dict(neuron.named_parameters())) == {"logit_share"}
    assert neuron.share.item() == pytest.approx(0.3)
    with torch.no_grad():
        for value, bound in ((50.0, 2.0), (-50.0, -1.0)):
            neuron.logit_share.fill_(value)
            assert neuron.share.item() == pytest.approx(bound)


def test_parameter_can_be_assigned_as_number_list_or_nn_parameter():
    lif = LIF(v_th=nn.Parameter(torch.tensor([1.0, 2.0])), tau_mem=[0.01, 0.02])
    assert set(dict(lif.named_parameters())) == {"v_th"}
    assert lif.tau_mem.dtype == torch.float32
    lif.v_th = 1.5
    assert set(dict(lif.named_parameters())) == set()
    lif.tau_mem = geir.learnable(0.03)
    assert set(dict(lif.named_parameters())) == {"log_tau_mem"}
    lif.tau_mem = 0.04
    assert set(lif.state_dict()) == set(LIF().state_dict())


def test_parameter_does_not_share_memory_with_the_assigned_tensor():
    lif = LIF()
    v_th = torch.tensor([1.0, 2.0])
    lif.v_th = v_th
    v_th[0] = 9.0
    assert lif.v_th[0] == 1.0


def test_repr_shows_settings_that_differ_from_the_defaults():
    assert repr(LIF()) == "LIF()"
    assert "dt=0.0005" in repr(LIF(tau_mem=0.02, dt=5e-4))
    text = repr(
        LIFRecurrent(
            3, 4, tau_syn=geir.learnable(0.004), v_th=[1.0, 2.0, 3.0, 4.0], surrogate=geir.surrogates.Triangle()
        )
    )
    for part in (
        "input_size=3, hidden_size=4",
        "tau_syn=learnable(0.004)",
        "v_th=tensor of shape (4,)",
        "surrogate=Triangle(gamma=0.3, width=1.0)",
    ):
        assert part in text


def test_state_dict_round_trip():
    model, twin = network(), network()
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    assert not torch.equal(model(XS)[0], twin(XS)[0])
    twin.load_state_dict(torch.load(buffer, weights_only=True))
    torch.testing.assert_close(twin(XS), model(XS))


def test_model_and_state_can_be_pickled_and_deep_copied():
    model = network()
    result = model(XS)
    torch.testing.assert_close(pickle.loads(pickle.dumps(model))(XS), result)
    torch.testing.assert_close(copy.deepcopy(model)(XS), result)
    state = pickle.loads(pickle.dumps(tuple(s if s == () else type(s)(*s) for s in result[1])))
    assert isinstance(state[1], geir.neurons.LIFState)


@pytest.mark.parametrize(
    ("dtype", "state_dtype"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_output_has_the_dtype_of_the_input_and_the_state_at_least_float32(dtype, state_dtype):
    model = network().to(dtype)
    vs, states = model(XS.to(dtype))
    assert vs.dtype == dtype
    for part in states:
        for _, tensor in leaves(part) if part else ():
            assert tensor.dtype == state_dtype
    if dtype == torch.float64:
        torch.testing.assert_close(vs.float(), copy.deepcopy(model).float()(XS)[0], rtol=1e-3, atol=1e-3)


def test_model_moves_to_another_device():
    model = network().to("meta")
    vs, _ = model(XS.to("meta"))
    assert vs.device.type == "meta"
    assert vs.shape == (25, 4, 3)


def test_model_is_built_on_the_default_device():
    with torch.device("meta"):
        assert LIFRecurrent(3, 4).recurrent_weights.is_meta


shapes = st.lists(st.integers(0, 4), min_size=0, max_size=3).map(tuple)


@settings(max_examples=60)
@given(
    steps=st.integers(0, 6),
    shape=shapes,
    per_neuron=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    data=st.data(),
)
def test_two_half_runs_equal_one_run_for_any_shape_layout_and_dtype(steps, shape, per_neuron, dtype, data):
    values = torch.full(shape[-1:], 8e-3) if per_neuron else 8e-3
    model = data.draw(st.sampled_from([geir.LIF, geir.ALIF, geir.AdEx, geir.LIFRefrac]))(tau_mem=values)
    if dtype == torch.float64:
        model = model.double()
    xs = (torch.rand(steps, *shape) * 5).to(dtype)
    if len(shape) > 1 and data.draw(st.booleans()):
        xs = xs.transpose(-1, -2).contiguous().transpose(-1, -2)
    zs, state = model(xs)
    assert zs.shape == xs.shape
    assert zs.dtype == dtype
    middle = data.draw(st.integers(0, steps))
    first, between = model(xs[:middle])
    second, last = model(xs[middle:], between)
    torch.testing.assert_close(torch.cat([first, second]), zs)
    torch.testing.assert_close(last, state)
