"""Declared parameters and settings: defaults, ranges, docstrings, abstract classes."""

import inspect
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
    ("limits", "values"),
    [
        (Range(), [-3.0, 0.0, 2.0]),
        (Range(above=1.0), [1.5, 7.0]),
        (Range(at_least=0.0), [0.5, 7.0]),
        (Range(above=0.0, below=2.0), [0.5, 1.9]),
    ],
)
def test_the_transform_of_a_range_inverts(limits, values):
    values = torch.tensor(values, dtype=torch.float64)
    stored = limits.to_unconstrained(values)
    assert stored.isfinite().all()
    torch.testing.assert_close(limits.from_unconstrained(stored), values, rtol=1e-12, atol=1e-12)
    # Every unconstrained number is inside.
    anything = torch.linspace(-5, 5, 11, dtype=torch.float64)
    assert limits.find_violation(limits.from_unconstrained(anything)) is None


def test_a_range_finds_violations_and_contradictions():
    assert Range(above=0.0).find_violation(torch.tensor([1.0, -2.0])) == ("> 0.0", -2.0)
    assert Range(at_least=0.0).find_violation(torch.tensor([0.0])) is None
    assert Range(above=0.0, below=1.0).find_violation(torch.tensor(1.0)) == ("< 1.0", 1.0)
    with pytest.raises(ValueError, match="`above` or `at_least`, not both"):
        Range(above=0.0, at_least=0.0)
    with pytest.raises(ValueError, match="needs a lower bound too"):
        Range(below=1.0)


def test_a_shallow_copy_with_other_values_leaves_the_original_alone():
    neuron = geir.LIF(tau_mem=geir.learnable(0.02))
    twin = neuron.with_values({"tau_mem": torch.tensor(0.5)})
    assert twin.tau_mem.item() == 0.5
    assert neuron.tau_mem.item() == pytest.approx(0.02)
    assert isinstance(twin, Declared)
