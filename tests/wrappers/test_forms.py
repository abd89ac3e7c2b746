import copy
import inspect
import pickle
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

import geir
from geir import neurons
from geir.neurons import parametric
from geir.testing import check_neuron
from geir.wrappers import compartments, noise, refractory

EVERY_NAME = [
    n
    for module in (neurons, refractory, noise, compartments, parametric)
    for n in module.__all__
    if n not in ("Refractoriness", "Noise", "EscapeNoise", "Coupling")
    and isinstance(getattr(module, n), type)
    and issubclass(getattr(module, n), geir.Dynamics)
]
LAYERS = [
    geir.LIF,
    geir.LIFBox,
    geir.IAF,
    geir.ALIF,
    geir.AdEx,
    geir.LIFRefrac,
    geir.AdExRefrac,
    geir.AlphaLIF,
    geir.CubaLIF,
    geir.GatedLIF,
    geir.KLIF,
    geir.ParametricLIF,
]


class QIFState(NamedTuple):
    v: Tensor


class QIF(geir.Neuron[QIFState]):
    tau: geir.Parameter = geir.parameter(default=20e-3, unit="s", above=0.0)

    def rest(self):
        return QIFState(v=torch.zeros(()))

    def step(self, x, state):
        v = state.v + self.dt / self.tau * (state.v**2 + x)
        z = self.surrogate(v - 1)
        return z, QIFState(v=v * (1 - z))


class QIFCell(geir.CellMixin, QIF): ...


class QIFRecurrentCell(geir.CellMixin, geir.RecurrentMixin, QIF): ...


def test_a_users_neuron_of_ten_lines_keeps_the_contract():
    check_neuron(QIF(), compiled=True)


def test_a_users_neuron_has_every_form():
    xs = torch.rand(30, 2, 3) * 20
    zs, state = QIF()(xs)
    assert zs.sum() > 5
    cell, after = QIFCell(), None
    for x, z in zip(xs, zs, strict=True):
        out, after = cell(x, after)
        torch.testing.assert_close(out, z)
    torch.testing.assert_close(after, state)
    assert QIFRecurrentCell(3, 4)(xs[0])[0].shape == (2, 4)


def broken(method):
    """A QIF with something wrong."""
    return type("Broken", (QIF,), {"step": method, "__module__": __name__})()


def with_memory(self, x, state):
    self.kept = getattr(self, "kept", 0) + 1
    return QIF.step(self, x, state)


@pytest.mark.filterwarnings("ignore:Broken runs on the reference loop")
@pytest.mark.parametrize(
    ("method", "promise"),
    [
        (with_memory, "A run changes neither"),
        (lambda self, x, state: QIF.step(self, x - x.mean(), state), "Samples and neurons do not mix"),
        (lambda self, x, state: QIF.step(self, x.detach(), state), "Gradients are those of finite differences"),
        (
            lambda self, x, state: (QIF.step(self, x, state)[0][..., :1], QIF.step(self, x, state)[1]),
            "Output has the shape",
        ),
        (lambda self, x, state: QIF.step(self, x * 0, state), "spikes at no strength"),
        (
            lambda self, x, state: (QIF.step(self, x, state)[0], QIFState(state.v * 0 + 0.5 * torch.rand(()).double())),
            "A run changes neither",
        ),
    ],
    ids=["keeps state on itself", "mixes samples", "detaches its input", "changes shape", "is deaf", "is random"],
)
def test_a_broken_neuron_is_found_out(method, promise):
    with pytest.raises(AssertionError, match=promise):
        check_neuron(broken(method))


class BentState(NamedTuple):
    v: Tensor


class Bent(geir.ODENeuron[BentState], affine=True):
    """Declared affine, but not."""

    def rest(self):
        return BentState(torch.zeros(()))

    def derivative(self, x, state):
        return BentState(20 * x - state.v**2)

    def threshold(self, before, after):
        return after.v - 1

    def reset(self, z, state):
        return BentState((1 - z) * state.v)


def test_a_false_declaration_of_affinity_is_found_out():
    with pytest.raises(AssertionError, match="A model declared affine has an affine derivative"):
        check_neuron(Bent())


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_a_cell_stepped_through_time_is_the_layer(layer):
    cell = getattr(geir, f"{layer.__name__}Cell")
    xs = torch.rand(60, 2, 3) * 3
    zs, last = layer()(xs)
    assert zs.sum() > 5
    state, one = None, cell()
    for x, z in zip(xs, zs, strict=True):
        out, state = one(x, state)
        torch.testing.assert_close(out, z)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
@pytest.mark.parametrize("autapses", [False, True])
def test_recurrent_forms_are_the_loop_by_hand(layer, autapses):
    recurrent = getattr(geir, f"{layer.__name__}Recurrent")(5, 4, autapses=autapses)
    cell = getattr(geir, f"{layer.__name__}RecurrentCell")(5, 4, autapses=autapses)
    cell.load_state_dict(recurrent.state_dict())
    xs = torch.rand(60, 2, 5) * 2
    w_in, w_rec = recurrent.input_weights.abs() * 2, recurrent.recurrent_weights
    for module in (recurrent, cell):
        module.input_weights = nn.Parameter(w_in.clone())
    zs, last = recurrent(xs)
    plain, z, inner, state = getattr(geir, f"{layer.__name__}Cell")(), torch.zeros(2, 4), None, None
    for x, expected in zip(xs, zs, strict=True):
        drive = x @ w_in.T + (z @ w_rec.T if autapses else z @ (w_rec * (1 - torch.eye(4))).T)
        z, inner = plain(drive, inner)
        torch.testing.assert_close(z, expected)
        out, state = cell(x, state)
        torch.testing.assert_close(out, expected)
    assert zs.sum() > 5
    torch.testing.assert_close(last, geir.wrappers.forms.RecurrentState(inner, z))
    torch.testing.assert_close(state, last)


def test_without_autapses_the_diagonal_stays_zero_come_what_may():
    layer = geir.LIFRecurrent(3, 5)
    assert (layer.recurrent_weights.diagonal() == 0).all()
    assert (layer.recurrent_weights != 0).sum() == 20
    state = layer.state_dict()
    state["recurrent_weights"] = torch.ones(5, 5) * 4
    twin = copy.deepcopy(layer)
    twin.load_state_dict(state)
    xs = torch.rand(40, 3)
    expected = copy.deepcopy(twin)
    with torch.no_grad():
        expected.recurrent_weights.fill_diagonal_(0)
    assert expected(xs)[0].sum() > 0
    torch.testing.assert_close(twin(xs), expected(xs))
    twin(xs)[1].neuron.v.sum().backward()
    assert (twin.recurrent_weights.grad.diagonal() == 0).all()
    assert twin.recurrent_weights.grad.abs().sum() > 0


def test_weights_may_be_given_and_are_not_changed():
    w_in, w_rec = torch.randn(4, 3), torch.ones(4, 4)
    layer = geir.LIFRecurrent(3, 4, input_weights=w_in, recurrent_weights=w_rec)
    torch.testing.assert_close(layer.input_weights.data, w_in)
    assert (w_rec == 1).all()
    shared = nn.Parameter(torch.randn(4, 4))
    assert geir.LIFRecurrent(3, 4, recurrent_weights=shared).recurrent_weights is shared
    with pytest.raises(ValueError, match=r"LIFRecurrent.input_weights must have shape \(4, 3\), got \(3, 4\)"):
        geir.LIFRecurrent(3, 4, input_weights=w_in.T)


def test_any_modules_may_connect():
    conv_in, conv_rec = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    layer = geir.LIFRecurrent(1, 4, input_weights=conv_in, recurrent_weights=conv_rec)
    xs = torch.rand(20, 2, 1, 6, 6) * 8
    zs, state = layer(xs)
    assert zs.shape == (20, 2, 4, 6, 6)
    assert zs.sum() > 10
    cell, z, inner = geir.LIFCell(), torch.zeros(2, 4, 6, 6), None
    for x, expected in zip(xs, zs, strict=True):
        z, inner = cell(conv_in(x) + conv_rec(z), inner)
        torch.testing.assert_close(z, expected)
    assert {k.split(".")[0] for k in layer.state_dict()} >= {"input_weights", "recurrent_weights", "tau_mem"}


def test_keys_are_the_same_in_every_form():
    keys = set(geir.LIF(tau_mem=geir.learnable(0.02)).state_dict())
    assert keys == {"log_tau_mem", "tau_syn", "v_rest", "v_th", "v_reset"}
    assert set(geir.LIFCell(tau_mem=geir.learnable(0.02)).state_dict()) == keys
    weights = {"input_weights", "recurrent_weights"}
    for form in (geir.LIFRecurrent, geir.LIFRecurrentCell):
        assert set(form(2, 3, tau_mem=geir.learnable(0.02)).state_dict()) == keys | weights


def test_wrappers_wrap_any_neuron_and_combine():
    xs = torch.rand(50, 2, 3) * 20
    zs, _ = geir.Refractory(QIF(), period=4e-3)(xs)
    assert 0 < zs.sum() < QIF()(xs)[0].sum()
    both = geir.Recurrent(geir.Refractory(geir.LIF(dt=2e-3)), 3, 4)
    assert both.dt == 2e-3
    assert both(xs)[1].neuron.neuron.v.shape == (2, 4)
    with pytest.raises(ValueError, match="wraps a layer over time"):
        geir.Refractory(geir.LIFCell())


@pytest.mark.parametrize("name", EVERY_NAME)
def test_every_form_is_a_real_class(name):
    form = getattr(geir, name)
    assert inspect.getdoc(form)
    sizes = [p.name for p in inspect.signature(form).parameters.values() if p.default is p.empty]
    arguments = {"input_size": 3, "hidden_size": 4, "neuron": geir.LIF()}
    module = form(*(arguments[size] for size in sizes))
    assert pickle.loads(pickle.dumps(module)).state_dict().keys() == module.state_dict().keys()
    assert type(pickle.loads(pickle.dumps(module))) is form
    x = torch.rand(7, 2, 4 if "hidden_size" in sizes and "input_size" not in sizes else 3)
    out, _ = module(x) if not name.endswith("Cell") else module(x[0])
    assert out.shape[-1] == (4 if "hidden_size" in sizes else 3)


def test_the_grid_of_names_has_no_hole():
    for layer in LAYERS:
        for suffix in ("", "Cell", "Recurrent", "RecurrentCell"):
            assert hasattr(geir, layer.__name__ + suffix)
