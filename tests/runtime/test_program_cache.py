"""Which changes of a model make its step be traced again."""

import dataclasses
from collections import OrderedDict
from functools import partial

import pytest
import torch
from runtime_helpers import with_reference

import geir
from geir._runtime.kernels import program_cache
from geir.testing import close


def test_changing_a_setting_traces_the_step_again():
    lif, xs = geir.LIF(integrator=geir.Euler()), torch.rand(50, 4)
    for change in (
        {"dt": 2e-3},
        {"surrogate": geir.surrogates.Triangle()},
        {"tau_mem": 5e-3},
        {"reset_mechanism": geir.ResetBySubtraction()},
    ):
        for name, value in change.items():
            setattr(lif, name, value)
        twin = with_reference(lif)
        x = xs.clone().requires_grad_()
        y = xs.clone().requires_grad_()
        lif(x)[0].sum().backward()
        twin(y)[0].sum().backward()
        close(x.grad, y.grad, 1e-6)


def test_changing_an_attribute_of_a_setting_traces_the_step_again():
    class Steep:
        gain = 1.0

        def __call__(self, x):
            return torch.sigmoid(self.gain * x)

    lif, xs = geir.LIF(surrogate=Steep()), torch.rand(50, 4)
    before, _ = lif(xs)
    lif.surrogate.gain = 5.0
    after, _ = lif(xs)
    assert not torch.equal(before, after)
    lif.unroll = geir.reference
    close(after, lif(xs)[0], 1e-5)


def test_settings_of_two_classes_with_the_same_name_are_told_apart():
    def steep(gain):
        @dataclasses.dataclass(frozen=True)
        class Steep:
            def __call__(self, x):
                return torch.sigmoid(gain * x)

        return Steep()

    xs = torch.rand(50, 4)
    for gain in (1.0, 5.0):  # as when the cell of a notebook is edited and run again
        lif = geir.LIF(surrogate=steep(gain))
        close(lif(xs)[0], with_reference(lif)(xs)[0], 1e-5)


def test_models_that_differ_in_the_values_of_parameters_and_numbers_share_a_program(monkeypatch):
    monkeypatch.setattr(program_cache, "_programs", OrderedDict())  # it may be full
    xs = torch.rand(5, 4)
    geir.LIF(tau_mem=7e-3, dt=1.23e-3)(xs)
    before = len(program_cache._programs)
    geir.LIF(tau_mem=9e-3, dt=1.23e-3)(xs)
    geir.LIF(tau_mem=torch.full((4,), 8e-3), dt=1.23e-3)(xs)
    assert len(program_cache._programs) == before
    geir.LIF(tau_mem=9e-3, dt=1.24e-3, surrogate=geir.surrogates.SuperSpike(7.0))(xs)
    assert len(program_cache._programs) == before
    geir.LIF(dt=1.23e-3, surrogate=geir.surrogates.Triangle())(xs)
    assert len(program_cache._programs) == before + 1


@pytest.mark.filterwarnings("ignore:.* runs on the reference loop")
@pytest.mark.parametrize(
    "wrap", [partial, lambda step: lambda *arguments: step(*arguments)], ids=["partial", "function"]
)
def test_a_step_that_is_not_a_method_runs_on_the_reference_loop(wrap):
    model, xs = geir.LIF(), torch.rand(5, 4)
    close(model(xs), with_reference(geir.LIF())(xs))
    model.step = wrap(model.step)
    for _ in range(3):
        close(model(xs), with_reference(geir.LIF())(xs))
