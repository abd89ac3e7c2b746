"""Declared parameters and settings: defaults, ranges, docstrings, abstract classes."""

import copy
import inspect
import math
import pickle
from typing import ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor

import geir
from geir.core.parameters import Declared, Range


def test_an_assignment_without_annotation_changes_the_inherited_default():
    class Fast(geir.LIF):
        dt = 25e-6
        tau_mem = 5e-3
        surrogate = geir.surrogates.Triangle()

    neuron = Fast()
    assert neuron.dt == 25e-6
    assert neuron.tau_mem.item() == pytest.approx(5e-3)
    assert neuron.tau_mem is neuron._buffers["tau_mem"]
    assert neuron.surrogate == geir.surrogates.Triangle()
    assert inspect.signature(Fast).parameters["tau_mem"].default == 5e-3
    assert Fast(tau_mem=8e-3).tau_mem.item() == pytest.approx(8e-3)
    # The derivative reads the new default too.
    xs = 3 * torch.rand(50, 4)
    torch.testing.assert_close(Fast()(xs), geir.LIF(dt=25e-6, tau_mem=5e-3, surrogate=geir.surrogates.Triangle())(xs))
    assert geir.LIF().dt == 1e-3
    assert geir.LIF().tau_mem.item() == pytest.approx(10e-3)


def test_a_declared_name_assigned_a_wrong_value_raises_when_the_class_is_defined():
    with pytest.raises(ValueError, match="Wrong.dt must be a positive number of seconds, got -1.0"):
        type("Wrong", (geir.LIF,), {"dt": -1.0})
    with pytest.raises(
        TypeError, match="Wrong.tau_mem is a declared parameter; its default must be a number, got 'slow'"
    ):
        type("Wrong", (geir.LIF,), {"tau_mem": "slow"})
    with pytest.raises(TypeError, match="Wrong.surrogate is a declared setting, not a method"):

        class Wrong(geir.LIF):
            def surrogate(self, x):  # pyright: ignore
                return x


def test_a_class_variable_and_a_property_withdraw_a_declaration():
    class Fixed(geir.LIF):
        v_th: ClassVar[float] = 1.0

        @property
        def v_reset(self):
            return torch.zeros(())

    assert "v_th" not in inspect.signature(Fixed).parameters
    assert "v_reset" not in inspect.signature(Fixed).parameters
    with pytest.raises(TypeError, match="Fixed has no parameter 'v_th'"):
        Fixed(v_th=2.0)


def test_the_docstring_lists_every_argument_with_its_unit_range_and_default():
    doc = inspect.getdoc(geir.LIF)
    assert "tau_mem: Membrane time constant. Must be > 0.0 s. Default: 0.01 s." in doc
    for model in (
        geir.LIF,
        geir.LIFRecurrent,
        geir.LIFRefrac,
        geir.AdExCell,
        geir.Refractory,
        geir.LIFMCRefracRecurrent,
    ):
        for name in inspect.signature(model).parameters:
            assert f"\n    {name}: " in inspect.getdoc(model), (model, name)


ABSTRACT = [
    geir.Dynamics,
    geir.Neuron,
    geir.ODE,
    geir.ODENeuron,
    geir.IntegrateAndFire,
    geir.Wrapper,
    geir.Integrator,
    geir.Reset,
    geir.wrappers.Hazard,
    geir.surrogates.Surrogate,
    geir.plasticity.Rule,
]


@pytest.mark.parametrize("kind", ABSTRACT, ids=lambda kind: kind.__name__)
def test_abstract_classes_cannot_be_instantiated(kind):
    with pytest.raises(TypeError, match="abstract"):
        kind()


class VState(NamedTuple):
    v: Tensor


def test_integrate_and_fire_needs_its_levels_when_the_class_is_defined():
    with pytest.raises(
        TypeError, match="Wrong has no parameter v_reset and no parameter v_th; declare them, or define"
    ):

        class Wrong(geir.IntegrateAndFire[VState]):
            pass

    class Right(geir.IntegrateAndFire[VState]):
        def reset_levels(self):
            return torch.zeros(()), torch.ones(())

        def rest(self):
            return VState(torch.zeros(()))

        def derivative(self, x, state):
            return VState(20 * x - 20 * state.v)

        def threshold(self, before, after):
            return after.v - 1

    zs, _ = Right()(2 * torch.ones(100, 3))
    assert zs.sum() > 2


@pytest.mark.parametrize(
    ("limits", "formula"),
    [
        (Range(above=0.0), lambda initial, stored: initial * stored.exp()),
        (Range(above=1.0), lambda initial, stored: 1 + (initial - 1) * stored.exp()),
        (Range(at_least=-2.0), lambda initial, stored: -2 + (initial + 2) * stored.exp()),
        (
            Range(above=1.0, below=4.0),
            lambda initial, stored: 1 + 3 / (1 + (4 - initial) / (initial - 1) * (-stored).exp()),
        ),
        (
            Range(at_least=1.0, at_most=4.0),
            lambda initial, stored: 1 + 3 / (1 + (4 - initial) / (initial - 1) * (-stored).exp()),
        ),
    ],
)
def test_a_stored_number_is_relative_to_the_initial_value(limits, formula):
    initial = torch.tensor([[1.5], [2.0], [3.9]], dtype=torch.float64)
    stored = torch.linspace(-5, 5, 11, dtype=torch.float64)
    values = limits.from_unconstrained(stored, initial)
    torch.testing.assert_close(values, formula(initial, stored), rtol=1e-12, atol=1e-12)
    # Zero is the initial value, and every unconstrained number is inside.
    torch.testing.assert_close(values[:, 5:6], initial, rtol=1e-15, atol=0)
    assert limits.find_violation(values) is None


def test_a_range_finds_violations_and_contradictions():
    assert Range(above=0.0).find_violation(torch.tensor([1.0, -2.0])) == ("> 0.0", -2.0)
    assert Range(at_least=0.0).find_violation(torch.tensor([0.0])) is None
    assert Range(above=0.0, below=1.0).find_violation(torch.tensor(1.0)) == ("< 1.0", 1.0)
    with pytest.raises(ValueError, match="`above` or `at_least`, not both"):
        Range(above=0.0, at_least=0.0)
    assert Range(at_least=0.0, at_most=1.0).find_violation(torch.tensor([0.0, 1.0])) is None
    assert Range(at_least=0.0, at_most=1.0).find_violation(torch.tensor(1.5)) == ("<= 1.0", 1.5)
    assert Range(at_least=0.0, at_most=1.0).describe() == "Must be >= 0.0 and <= 1.0."
    with pytest.raises(ValueError, match="`below` or `at_most`, not both"):
        Range(above=0.0, below=1.0, at_most=1.0)
    with pytest.raises(ValueError, match="a parameter with `below` needs a lower bound too"):
        Range(below=1.0)
    with pytest.raises(ValueError, match="a parameter with `at_most` needs a lower bound too"):
        Range(at_most=1.0)


def test_a_shallow_copy_with_other_values_leaves_the_original_alone():
    neuron = geir.LIF(tau_mem=geir.learnable(0.02))
    twin = neuron.with_values({"tau_mem": torch.tensor(0.5)})
    assert twin.tau_mem.item() == 0.5
    assert neuron.tau_mem.item() == pytest.approx(0.02)
    assert isinstance(twin, Declared)


class Gated(geir.LIF):
    share: geir.Parameter = geir.parameter(default=0.5, at_least=-1.0, below=2.0)


def gated(tau_mem=0.02, share=0.3):
    return Gated(tau_mem=geir.learnable(tau_mem), share=geir.learnable(share))


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_weight_decay_pulls_a_learnable_value_to_where_it_started(optimizer):
    neuron = gated()
    # As 30,000 steps with the default of AdamW, 0.01: the same sum of decays in 300 steps.
    optimizer = optimizer(neuron.parameters(), lr=1e-3, weight_decay=1.0)

    def train():
        for _ in range(300):
            for p in neuron.parameters():
                p.grad = torch.zeros_like(p)
            optimizer.step()

    train()
    assert neuron.tau_mem.item() == pytest.approx(20e-3, rel=1e-6)
    assert neuron.share.item() == pytest.approx(0.3, rel=1e-6)
    with torch.no_grad():
        neuron.log_tau_mem.fill_(1.0)
        neuron.logit_share.fill_(-1.0)
    if isinstance(optimizer, torch.optim.AdamW):
        train()
        kept = (1 - 1e-3) ** 300  # the share of the distance, on the stored scale
        assert neuron.tau_mem.item() == pytest.approx(20e-3 * math.exp(kept), rel=1e-4)
        logit = math.log(1.3 / 1.7) - kept
        assert neuron.share.item() == pytest.approx(-1 + 3 / (1 + math.exp(-logit)), rel=1e-4)


def test_the_gradient_of_the_stored_number_is_that_of_the_logarithm_or_logit():
    neuron = gated()
    neuron.tau_mem.backward()
    assert neuron.log_tau_mem.grad.item() == pytest.approx(0.02)
    neuron.share.backward()
    assert neuron.logit_share.grad.item() == pytest.approx(3 * (1.3 / 3) * (1.7 / 3))


@pytest.mark.filterwarnings("ignore:.*times are in seconds")
def test_a_learnable_value_is_exactly_the_one_that_was_given():
    values = torch.tensor([1e-3, 0.02, 7.0])
    lif = geir.LIF(tau_mem=geir.learnable(values))
    assert torch.equal(lif.tau_mem, values)
    assert torch.equal(lif.bfloat16().tau_mem, values.bfloat16())
    values[0] = 5.0
    assert lif.tau_mem[0] < 5


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), "load", "functional_call"])
def test_copies_keep_the_learned_and_the_initial_value(copied):
    neuron = gated(torch.tensor([0.01, 0.02, 0.03]), 0.7)
    with torch.no_grad():
        neuron.log_tau_mem.add_(torch.tensor([0.1, 0.2, 0.3]))
        neuron.logit_share.sub_(1.0)
    if copied == "load":
        twin = gated(torch.tensor([1.0, 2.0, 3.0]), 0.1)
        twin.load_state_dict(neuron.state_dict())
    elif copied == "functional_call":
        both = [dict(neuron.named_parameters()), dict(neuron.named_buffers())]
        twin, xs = gated(torch.ones(3)), torch.rand(30, 3)
        torch.testing.assert_close(torch.func.functional_call(twin, both, (xs,)), neuron(xs))
        return
    else:
        twin = copied(neuron)
    for name in ("tau_mem", "share", "initial_tau_mem", "initial_share"):
        assert torch.equal(getattr(twin, name), getattr(neuron, name))
    torch.testing.assert_close(twin.tau_mem, torch.tensor([0.01, 0.02, 0.03]) * torch.tensor([0.1, 0.2, 0.3]).exp())


def test_a_new_value_starts_at_zero_again_and_a_fixed_one_leaves_nothing_behind():
    neuron = gated()
    with torch.no_grad():
        neuron.log_tau_mem.fill_(3.0)
    neuron.tau_mem = geir.learnable(0.05)
    assert neuron.log_tau_mem.item() == 0
    assert neuron.tau_mem.item() == pytest.approx(0.05)
    assert [name for name, _ in neuron.named_parameters()] == ["logit_share", "log_tau_mem"]
    neuron.tau_mem, neuron.share = 0.01, torch.nn.Parameter(torch.tensor(0.5))
    assert set(neuron.state_dict()) == set(Gated().state_dict())
    with pytest.raises(ValueError, match=r"Gated.tau_mem must be > 0.0 s, got -1.0"):
        gated(-1.0)


def test_a_state_dictionary_without_the_initial_value_or_with_a_wrong_one_is_refused():
    neuron = gated()
    state = neuron.state_dict()
    absolute = {name: value for name, value in state.items() if name != "initial_tau_mem"}
    with pytest.raises(
        ValueError,
        match="Gated.tau_mem: the state dictionary has 0.log_tau_mem, but not 0.initial_tau_mem, the value to which",
    ):
        torch.nn.Sequential(neuron).load_state_dict({f"0.{k}": v for k, v in absolute.items()}, strict=False)
    with pytest.raises(ValueError, match=r"Gated.tau_mem must be > 0.0 s, got -0.02"):
        neuron.load_state_dict(state | {"initial_tau_mem": torch.tensor(-0.02)})
    with pytest.raises(RuntimeError, match="size mismatch for initial_tau_mem"):
        neuron.load_state_dict(state | {"initial_tau_mem": torch.ones(2, 3), "log_tau_mem": torch.zeros(2, 4)})


def test_a_parameter_may_be_called_initial_something():
    class Named(geir.LIF):
        initial_v_th: geir.Parameter = geir.parameter(default=3.0)

    neuron = Named(v_th=geir.learnable(2.0))
    neuron.v_th = 1.5
    assert neuron.initial_v_th.item() == 3.0
