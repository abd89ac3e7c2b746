"""A kernel follows every change of what its step reads: the result is always that of the reference loop."""

import copy
import dataclasses
import gc
import types
import weakref
from collections import Counter, OrderedDict
from typing import NamedTuple

import numpy as np
import pytest
import torch
from runtime_helpers import with_reference
from torch import Tensor

import geir
from geir._runtime.compiler import find_compiler
from geir._runtime.kernels import program_cache
from geir._runtime.kernels.step_fingerprint import fingerprint_step, UnknownContentError

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")

GAIN = 1.0
CONFIG = types.ModuleType("config")
CONFIG.GAIN = 1.0


class GainState(NamedTuple):
    v: Tensor


class Gain(geir.Dynamics[GainState]):
    """A leaky sum of its input times a gain, which a subclass defines."""

    def rest(self):
        return GainState(torch.zeros(()))

    def step(self, x, state, *prepared):
        v = 0.5 * state.v + x * self.gain(*prepared)
        return v, GainState(v)


class PrivateGain(Gain):
    _gain = 1.0

    def gain(self):
        return self._gain


class TrainingGain(Gain):
    def gain(self):
        return 2.0 if self.training else 1.0


class PreparedGain(Gain):
    _gain = 1.0

    def prepare(self):
        return (self._gain,)

    def gain(self, prepared):
        return prepared


class GlobalGain(Gain):
    def gain(self):
        return GAIN


class ModuleGain(Gain):
    def gain(self):
        return CONFIG.GAIN


class ClassGain(Gain):
    GAIN = 1.0

    def gain(self):
        return type(self).GAIN


def closure(gain):
    return lambda: gain


class Holder:
    def __init__(self, gain=1.0):
        self.gain = gain

    def compute(self):
        return self.gain


class Slots:
    __slots__ = ("gain",)

    def __init__(self, gain=1.0):
        self.gain = gain

    def compute(self):
        return self.gain


class HeldGain(Gain):
    def __init__(self):
        super().__init__()
        self._function = closure(1.0)

    def gain(self):
        return self._function()


class NestedGain(Gain):
    def __init__(self):
        super().__init__()
        self._nested = {"a": [({"b": Holder()},)], "array": np.ones(3)}

    def gain(self):
        return self._nested["a"][0][0]["b"].gain * self._nested["array"][0]


def set_attribute(name, value):
    return lambda model: setattr(model, name, value)


def set_method(kind, function):
    def change(model, monkeypatch):
        monkeypatch.setattr(kind, "gain", function)

    return change


HOLDER = Holder()

CHANGES = {
    "private attribute": (PrivateGain, set_attribute("_gain", 5.0)),
    "training": (TrainingGain, lambda model: model.eval()),
    "prepared number": (PreparedGain, set_attribute("_gain", 5.0)),
    "closure": (HeldGain, set_attribute("_function", closure(5.0))),
    "bound method of another object": (HeldGain, set_attribute("_function", Holder(5.0).compute)),
    "bound method of an object with slots": (HeldGain, set_attribute("_function", Slots(5.0).compute)),
    "nested object": (NestedGain, lambda model: setattr(model._nested["a"][0][0]["b"], "gain", 5.0)),
    "nested array": (NestedGain, lambda model: model._nested["array"].fill(5.0)),
    "method of the instance": (PrivateGain, set_attribute("gain", lambda: 5.0)),
}


def assert_equals_reference(model, xs):
    expected, _ = with_reference(model)(xs)
    actual, _ = model(xs)
    torch.testing.assert_close(actual, expected)
    return actual


@pytest.mark.parametrize("name", CHANGES)
def test_a_kernel_follows_every_change_of_the_instance(name):
    kind, change = CHANGES[name]
    model, xs = kind(), torch.rand(10, 3)
    before = assert_equals_reference(model, xs)
    change(model)
    assert not torch.allclose(assert_equals_reference(model, xs), before)


def test_a_kernel_follows_changes_of_classes_globals_and_modules(monkeypatch):
    xs = torch.rand(10, 3)
    models = [ClassGain(), GlobalGain(), ModuleGain(), PrivateGain()]
    before = [assert_equals_reference(model, xs) for model in models]
    monkeypatch.setattr(ClassGain, "GAIN", 5.0)
    monkeypatch.setitem(globals(), "GAIN", 5.0)
    monkeypatch.setattr(CONFIG, "GAIN", 5.0)
    monkeypatch.setattr(PrivateGain, "gain", lambda self: 5.0)  # as autoreload does
    for model, previous in zip(models, before, strict=True):
        assert not torch.allclose(assert_equals_reference(model, xs), previous)


def test_two_models_that_differ_in_a_private_attribute_have_two_programs():
    first, second = PrivateGain(), PrivateGain()
    second._gain = 5.0
    xs = torch.rand(10, 3)
    torch.testing.assert_close(second(xs)[0], 5 * first(xs)[0])


@pytest.mark.parametrize("how", ["closure", "attribute", "global", "default"])
def test_the_gradient_follows_a_surrogate_whose_slope_changes(how, monkeypatch):
    settings = {"slope": 1.0}

    class Steep:
        slope = 1.0

        def __call__(self, x, default=1.0):
            slope = {"closure": settings["slope"], "attribute": self.slope, "global": GAIN, "default": default}[how]
            return torch.sigmoid(slope * x)

    surrogate = Steep()
    lif, xs = geir.LIF(surrogate=surrogate), torch.rand(50, 4) * 2

    def gradients():
        results = []
        for model in (lif, with_reference(lif)):
            x = xs.clone().requires_grad_()
            model(x)[0].sum().backward()
            results.append(x.grad)
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)
        return results[0]

    before = gradients()
    settings["slope"] = surrogate.slope = 25.0
    monkeypatch.setitem(globals(), "GAIN", 25.0)
    monkeypatch.setattr(Steep.__call__, "__defaults__", (25.0,))
    assert not torch.allclose(gradients(), before)


@pytest.mark.parametrize(
    ("name", "read"),
    [("ReadingLists", lambda tau: np.mean(tau.tolist())), ("ReadingArrays", lambda tau: tau.numpy().mean())],
)
def test_a_step_that_reads_data_of_a_parameter_runs_on_the_reference_loop(name, read):
    class Reading(geir.Dynamics[GainState]):
        tau: geir.Parameter = geir.parameter(default=3.0)

        def rest(self):
            return GainState(torch.zeros(()))

        def step(self, x, state):
            v = 0.5 * state.v + x * float(read(self.tau.detach()))
            return v, GainState(v)

    model, xs = type(name, (Reading,), {})(), torch.rand(10, 3)
    with pytest.warns(RuntimeWarning, match=f"{name} runs on the reference loop: .* lets Python read the data"):
        actual, _ = model(xs)
    torch.testing.assert_close(actual, with_reference(model)(xs)[0])


def test_an_object_that_cannot_be_looked_into_is_traced_in_every_call():
    generator = torch.Generator()
    generator.manual_seed(0)

    class Seeded(Gain):
        def gain(self):
            return float(generator.initial_seed() + 1)

    model, xs = Seeded(), torch.rand(10, 3)
    with pytest.raises(UnknownContentError, match="Generator"):
        fingerprint_step(model, model.step, ())
    before = assert_equals_reference(model, xs)
    generator.manual_seed(4)
    torch.testing.assert_close(assert_equals_reference(model, xs), 5 * before)


def test_recursive_objects_have_a_fingerprint():
    model = PrivateGain()
    model._loop = [model, {"again": None}]
    model._loop[1]["again"] = model._loop
    assert_equals_reference(model, torch.rand(10, 3))


def test_the_cache_is_bounded_and_keeps_no_model_alive(monkeypatch):
    monkeypatch.setattr(program_cache, "MAX_PROGRAMS", 3)

    @dataclasses.dataclass
    class Setting:
        gain: float

    references = []
    for k in range(6):
        model = PrivateGain()
        model._gain, model._setting = float(k), Setting(k)
        model(torch.rand(4, 3))
        references += [weakref.ref(model), weakref.ref(model._setting)]
    del model
    gc.collect()
    assert len(program_cache._programs) <= 3
    assert all(reference() is None for reference in references)


def test_models_that_do_the_same_share_a_program():
    geir.LIF()(torch.rand(4, 3))
    before = dict(program_cache._programs)
    geir.LIF(tau_mem=5e-3)(torch.rand(7, 2))
    geir.LIF(dt=2e-3)  # constructing a model traces nothing
    assert program_cache._programs.keys() == before.keys()


class Number(float):
    """A number that is not a plain float."""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (OrderedDict(a=1.0), OrderedDict(a=2.0)),
        (Counter(a=1), Counter(a=2)),
        (Number(1.0), Number(2.0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_subclasses_of_containers_and_numbers_count_by_their_content(before, after):
    model = PrivateGain()
    fingerprints = []
    for value in (before, after, copy.copy(before)):
        model._value = value
        fingerprints.append(fingerprint_step(model, model.step, ()))
    assert fingerprints[0] != fingerprints[1]
    assert fingerprints[0] == fingerprints[2]
