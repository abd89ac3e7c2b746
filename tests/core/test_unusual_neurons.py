"""Neurons of unusual kinds: without state, with tied parameters, with buffers that are masks or integers."""

from typing import NamedTuple

import pytest
import torch
from torch import nn, Tensor

import geir

# Right, but without kernels yet.
FALLS_BACK = pytest.mark.filterwarnings("ignore:.* runs on the reference loop:RuntimeWarning")


class NoState(NamedTuple):
    pass


class Stateless(geir.Neuron[NoState]):
    """A threshold."""

    def rest(self):
        return NoState()

    def step(self, x, state):
        return self.surrogate(x - 1), state


class StatelessCell(geir.CellMixin, Stateless): ...


XS = 2 * torch.rand(10, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "unroll",
    [pytest.param(geir.reference, id="reference"), pytest.param(geir.Fused(), marks=FALLS_BACK, id="kernels")],
)
def test_a_neuron_without_state_runs(unroll):
    expected = (XS > 1).float()
    for record_states in (False, True):
        zs, state = Stateless(unroll=unroll, record_states=record_states)(XS)
        torch.testing.assert_close(zs, expected)
        assert state == NoState()
    neuron = Stateless(unroll=unroll)
    torch.testing.assert_close(neuron(XS, NoState())[0], expected)
    zs, states = geir.SequentialState(nn.Identity(), neuron)(XS)
    torch.testing.assert_close(zs, expected)
    zs, _ = geir.SequentialState(nn.Identity(), neuron)(XS, states)
    torch.testing.assert_close(zs, expected)


def test_a_cell_without_state_runs():
    zs, state = geir.Lift(StatelessCell())(XS)
    torch.testing.assert_close(zs, (XS > 1).float())
    assert state == NoState()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: geir.Refractory(geir.LI()), r"Refractory needs a neuron that spikes, such as LIF\(\), got LI\(\)"),
        (lambda: geir.Refractory(Stateless()), "a membrane potential `v`, but the state of Stateless is empty"),
        (lambda: geir.Noisy(Stateless()), "a membrane potential `v`, but the state of Stateless is empty"),
        (lambda: geir.Stochastic(geir.LI()), r"whose step is that of geir.ODENeuron, such as LIF\(\), got LI\(\)"),
    ],
)
def test_a_wrapper_refuses_a_neuron_that_lacks_what_it_needs(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("rest", [(), torch.zeros(())], ids=["tuple", "tensor"])
def test_a_state_that_is_no_named_tuple_is_refused(rest):
    class Plain(Stateless):
        def rest(self):
            return rest

    with pytest.raises(TypeError, match=r"Plain\.rest must return a NamedTuple of tensors, got (tuple|Tensor)"):
        Plain()(XS)


def loss_of(model):
    zs, state = model(20 * XS)
    return zs.sum() + state.v.sum()


@pytest.mark.parametrize("unroll", [geir.reference, geir.Fused()], ids=["reference", "fused"])
def test_one_parameter_for_two_time_constants_gets_the_sum_of_the_gradients(unroll):
    tied = nn.Parameter(torch.tensor(0.01))
    loss_of(geir.LIF(tau_mem=tied, tau_syn=tied, unroll=unroll)).backward()
    mem, syn = nn.Parameter(torch.tensor(0.01)), nn.Parameter(torch.tensor(0.01))
    loss_of(geir.LIF(tau_mem=mem, tau_syn=syn, unroll=geir.reference)).backward()
    torch.testing.assert_close(tied.grad, mem.grad + syn.grad)
    assert tied.grad != 0


class VState(NamedTuple):
    v: Tensor


class Masked(geir.Neuron[VState]):
    """Has a mask, integers, and no parameter."""

    def __post_init__(self):
        super().__post_init__()
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("count", torch.tensor([1, 2, 3]))

    def rest(self):
        return VState(torch.zeros(()))

    def step(self, x, state):
        v = torch.where(self.mask, 0.5 * state.v + x * self.count, state.v)
        return self.surrogate(v - 4), VState(v)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("unroll", [geir.reference, geir.Fused()], ids=["reference", "fused"])
@FALLS_BACK
def test_masks_and_integers_as_buffers_keep_their_meaning(unroll, dtype):
    model, xs = Masked(unroll=unroll).to(dtype), XS.to(dtype)
    zs, state = model(xs)
    v, outputs = torch.zeros(3, dtype=dtype), []
    for x in xs:
        v = torch.stack([0.5 * v[0] + x[0], v[1], 0.5 * v[2] + 3 * x[2]])
        outputs.append((v > 4).to(dtype))
    torch.testing.assert_close(state.v, v)
    torch.testing.assert_close(zs, torch.stack(outputs))
    assert 0 < zs.sum() < zs.numel()
    assert model.count.dtype == torch.int64
    assert state.v.dtype == dtype


class MaskedFlow(geir.ODE[VState], affine=True):
    """An affine equation with buffers that are present when the equation is first looked at."""

    tau: geir.Parameter = geir.parameter(default=0.01, above=0.0)

    def __post_init__(self):
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("gain", torch.tensor([0, 2, 3]))
        self.register_buffer("bias", torch.zeros(3))
        super().__post_init__()

    def rest(self):
        return VState(torch.zeros(()))

    def derivative(self, x, state):
        return VState(torch.where(self.mask, self.gain * x + self.bias - state.v, -state.v) / self.tau)

    def step(self, x, state, coefficients):
        state = self.advance(x, state, coefficients)
        return state.v, state


def test_buffers_of_an_affine_equation_count_whatever_their_values_were():
    model = MaskedFlow(unroll=geir.reference)
    with torch.no_grad():
        model.bias.fill_(0.5)
    _, state = model(torch.ones(1000, 3))
    torch.testing.assert_close(state.v, torch.tensor([0.5, 0.0, 3.5]))
