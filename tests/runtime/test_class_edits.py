"""Classes of geir that a program changes, as mocks do, and methods that wrap those of geir, act like subclasses."""

import functools
from unittest import mock

import pytest
import torch

import geir
from geir._util.class_edits import is_code_of_geir
from geir.surrogates import SuperSpike

XS = torch.linspace(0.1, 0.6, 60).unsqueeze(1).expand(-1, 3).contiguous()


class Changed:
    """Makers of methods that replace those of LIF; `replaced` is the method of geir."""

    @staticmethod
    def receive(replaced):
        return lambda self, x, state: replaced(self, 2 * x, state)

    @staticmethod
    def derivative(replaced):
        return lambda self, x, state: replaced(self, x, state)._replace(v=2 * replaced(self, x, state).v)

    @staticmethod
    def threshold(replaced):
        return lambda self, before, after: replaced(self, before, after) + 0.5

    @staticmethod
    def rest(replaced):
        return lambda self: replaced(self)._replace(i=torch.full((), 0.2))


METHODS = ["receive", "derivative", "threshold", "rest"]


def run(neuron):
    """Spikes, potentials and gradients of several calls, which must be the same: later ones are direct calls."""
    results = []
    for _ in range(4):
        xs = XS.clone().requires_grad_(True)
        zs, state = neuron(xs)
        (zs * torch.arange(60.0).unsqueeze(1)).sum().backward()
        with torch.no_grad():
            without_gradient, _ = neuron(XS)
        assert torch.equal(zs, without_gradient)
        results.append(torch.cat([zs.detach(), state.v.detach()[None], xs.grad]))
    assert all(torch.equal(result, results[0]) for result in results)
    return results[0]


@pytest.mark.parametrize("name", METHODS)
def test_a_mocked_method_of_a_class_takes_effect_and_ceases_to(name):
    replaced = getattr(geir.LIF, name)
    subclass = type("Subclass", (geir.LIF,), {name: getattr(Changed, name)(replaced)})
    neuron = geir.LIF()
    before, expected = run(neuron), run(subclass())
    assert not torch.equal(before, expected)
    with mock.patch.object(geir.LIF, name, getattr(Changed, name)(replaced)):
        assert torch.equal(run(neuron), expected)
        assert torch.equal(run(geir.LIF()), expected)
    assert torch.equal(run(neuron), before)
    assert torch.equal(run(geir.LIF()), before)


@pytest.mark.parametrize(
    ("part", "name", "replacement"),
    [
        (SuperSpike, "derivative", lambda self, x: torch.ones_like(x)),
        (geir.ResetToValue, "apply", lambda self, z, v, v_reset, v_th: v - 0.5 * z),
        (geir.Exact, "advance", lambda self, flow, x, state, coefficients: state._replace(v=state.v + 0.1 * state.i)),
    ],
)
def test_a_mocked_method_of_a_setting_takes_effect_and_ceases_to(part, name, replacement):
    neuron = geir.LIF()
    before = run(neuron)
    subclass = type("Subclass", (part,), {name: replacement})
    setting = {SuperSpike: "surrogate", geir.ResetToValue: "reset_mechanism", geir.Exact: "integrator"}[part]
    expected = run(geir.LIF(**{setting: subclass()}))
    assert not torch.equal(before, expected)
    with mock.patch.object(part, name, replacement):
        assert torch.equal(run(neuron), expected)
    assert torch.equal(run(neuron), before)


@pytest.mark.parametrize("name", METHODS)
def test_methods_that_wrap_those_of_geir_are_not_taken_for_them(name):
    replaced = getattr(geir.LIF, name)
    results = []
    for wrap in (functools.wraps(replaced), lambda function: function):
        subclass = type("Subclass", (geir.LIF,), {name: wrap(getattr(Changed, name)(replaced))})
        results.append(run(subclass()))
    assert torch.equal(*results)
    assert not torch.equal(results[0], run(geir.LIF()))


def test_a_class_without_the_name_of_a_module_can_be_run():
    variables = {"geir": geir, "torch": torch}
    exec("class Mine(geir.LIF):\n    def rest(self):\n        return super().rest()", variables)
    assert variables["Mine"].rest.__module__ is None
    assert torch.equal(run(variables["Mine"]()), run(geir.LIF()))


def test_the_module_of_code_is_where_it_was_written():
    wrapped = functools.wraps(geir.LIF.rest)(lambda self: None)
    assert wrapped.__module__ == geir.LIF.rest.__module__
    assert not is_code_of_geir(wrapped)
    assert is_code_of_geir(geir.LIF.rest)
    assert not is_code_of_geir(len)
