"""Whatever is changed between two calls, the result is that of a new module with the same numbers.

Hypothesis draws sequences of changes, for every model. A new module is a copy, which remembers nothing, on the reference
loop.
"""

import copy
import functools
import subprocess
import sys
import types

import pytest
import torch
from hypothesis import given, settings, strategies as st
from model_table import MODELS
from runtime_helpers import with_reference
from torch import nn

import geir
from geir._runtime.compiler import find_compiler
from geir._util.state import leaves
from geir.surrogates import Sigmoid, SuperSpike, Triangle
from geir.testing import learnable_copy, strong_input
from geir.wrappers import Wrapper

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")

STEPS = 12
gains = types.SimpleNamespace(of_object=1.0)
GAIN = 1.0


def closure(gain):
    return lambda: gain


class Adjusted(Wrapper):
    """A wrapper of a user, whose step reads the gain of its input from everywhere."""

    CLASS_GAIN = 1.0

    def __init__(self, neuron):
        super().__init__(neuron)
        self._gain = 1.0
        self._closure = closure(1.0)
        self.part = nn.BatchNorm1d(1).double()  # a submodule with buffers

    def step(self, x, state, inner):
        gain = self._gain * self.CLASS_GAIN * GAIN * gains.of_object * self._closure() * (0.9 if self.training else 1)
        return self.neuron.step(x * gain * self.part.running_var, state, *inner)


def modules_with(model, name):
    return [part for part in model.modules() if name in vars(part)]


def own(model):
    """The parameters and buffers of the neurons, without those of `Adjusted`."""
    model = model.neuron if isinstance(model, Adjusted) else model
    return [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point() and t.numel()]


def fused_optimizer(model, factor):
    for parameter in model.parameters():
        parameter.grad = (1 - factor) * parameter.detach()
    torch.optim.SGD(model.parameters(), 1.0, fused=True).step()


def vector_to_parameters(model, factor):
    vector = nn.utils.parameters_to_vector(model.parameters()).detach()
    nn.utils.vector_to_parameters(factor * vector, model.parameters())


def write_data(model, factor):
    for tensor in own(model):
        tensor.data.mul_(factor)


def replace_data(model, factor):
    for tensor in own(model):
        tensor.data = factor * tensor.data


def write_numpy(model, factor):
    for tensor in own(model):
        tensor.detach().numpy()[...] *= factor


def replace_parameters(model, factor):
    for part in model.modules():
        for name, parameter in [*part.named_parameters(recurse=False)]:
            setattr(part, name, nn.Parameter(factor * parameter.detach()))


def load_state(model, factor):
    model.load_state_dict({k: factor * v if v.is_floating_point() else v for k, v in model.state_dict().items()})


def change_dt(model, factor):
    for part in modules_with(model, "dt"):
        part.dt *= factor


def change_option(model, factor):
    for part in modules_with(model, "integrator"):
        usual = geir.Exact() if part.affine else geir.ExponentialEuler()
        part.integrator = usual if factor > 1 else geir.Euler()
    for part in modules_with(model, "reset_mechanism"):
        part.reset_mechanism = geir.ResetBySubtraction(detach=factor > 1)


def change_surrogate(model, factor):
    for part in modules_with(model, "surrogate"):
        if not part.surrogate.multiple_spikes:
            part.surrogate = type(part.surrogate)(factor) if hasattr(part.surrogate, "alpha") else SuperSpike(factor)


def change_kind_of_surrogate(model, factor):
    for part in modules_with(model, "surrogate"):
        if not part.surrogate.multiple_spikes:
            part.surrogate = Sigmoid() if factor > 1 else Triangle()


def change_surrogate_in_place(model, factor):
    for part in modules_with(model, "surrogate"):
        part.surrogate = copy.copy(part.surrogate)
        for name, value in vars(part.surrogate).items():
            if type(value) is float:
                object.__setattr__(part.surrogate, name, factor * value)


def replace_method(model, factor):
    for part in model.modules():
        if isinstance(part, geir.ODE):
            part.receive = types.MethodType(functools.partial(received, factor), part)


def received(factor, model, x, state):
    return type(model).receive(model, factor * x, state)


def toggle_training(model, factor):
    model.train(not model.training)


def change_global(model, factor):
    globals()["GAIN"] = factor


def change_object(model, factor):
    gains.of_object = factor


def change_class(model, factor):
    Adjusted.CLASS_GAIN = factor


def change_attribute(model, factor):
    for part in model.modules():
        if isinstance(part, Adjusted):
            part._gain *= factor


def change_closure(model, factor):
    for part in model.modules():
        if isinstance(part, Adjusted):
            part._closure = closure(factor)


def change_buffer_of_submodule(model, factor):
    for part in model.modules():
        if isinstance(part, Adjusted):
            part.part.running_var.data.mul_(factor)


CHANGES = [
    fused_optimizer, vector_to_parameters, write_data, replace_data, write_numpy, replace_parameters, load_state, change_dt,
    change_option, change_surrogate, change_kind_of_surrogate, change_surrogate_in_place, replace_method, toggle_training,
    change_global, change_object, change_class, change_attribute, change_closure, change_buffer_of_submodule,
]  # fmt: skip


@pytest.fixture(autouse=True)
def restore_globals():
    def restore():
        globals()["GAIN"] = gains.of_object = Adjusted.CLASS_GAIN = 1.0

    restore()
    yield
    restore()


@functools.cache
def input_of(index):
    """Input under which the model of the table spikes, from its first spike on."""
    xs = strong_input(copy.deepcopy(MODELS[index]).double())
    with torch.no_grad():
        zs = copy.deepcopy(MODELS[index]).double()(xs)[0].flatten(1).sum(1)
    first = int(zs.nonzero()[0]) if MODELS[index].spiking else 0
    start = max(0, min(first - STEPS // 2, len(xs) - STEPS))
    return xs[start : start + STEPS]


def results(model, xs):
    """Output, final state and the gradient of the input; without gradients of parameters, by the shortest way."""
    with torch.no_grad():
        zs, state = model(xs)
    parameters = [*model.parameters()]
    required = [parameter.requires_grad for parameter in parameters]
    x = xs.clone().requires_grad_()
    for parameter in parameters:
        parameter.requires_grad_(False)
    model(x)[0].sum().backward()
    for parameter, value in zip(parameters, required, strict=True):
        parameter.requires_grad_(value)
    return [zs, *(part for _, part in leaves(state)), x.grad]


def check(model, xs):
    expected = results(with_reference(model), xs)
    for _ in range(3):  # remembered programs, coefficients and prepared calls
        torch.testing.assert_close(results(model, xs), expected, rtol=1e-6, atol=1e-6, equal_nan=True)
    return expected


# Places in `CHANGES`, counted from another one for every model: Hypothesis draws the same numbers for all of them.
sequences = st.lists(
    st.tuples(st.integers(0, len(CHANGES) - 1), st.sampled_from([0.8, 1.25])), min_size=2, max_size=5, unique=True
)


@pytest.mark.parametrize("index", range(len(MODELS)), ids=lambda k: repr(MODELS[k]).replace("\n", ""))
@settings(max_examples=2)
@given(sequence=sequences, wrapped=st.booleans(), learnable=st.booleans())
def test_whatever_changes_between_two_calls_the_result_is_that_of_a_new_module(index, sequence, wrapped, learnable):
    globals()["GAIN"] = gains.of_object = Adjusted.CLASS_GAIN = 1.0
    model = copy.deepcopy(MODELS[index]).double()
    model = learnable_copy(model, ()) if learnable else model
    model = Adjusted(model) if wrapped and model.elementwise else model
    xs = input_of(index)
    check(model, xs)
    for place, factor in sequence:
        change = CHANGES[(place + 3 * index) % len(CHANGES)]
        if [*model.parameters()] or change not in (fused_optimizer, vector_to_parameters):
            change(model, factor)
            check(model, xs)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_has_an_effect_that_is_seen(change):
    """On one model that has all of it: else the test above would see nothing."""
    model = Adjusted(learnable_copy(geir.LIF().double(), ()))
    xs = input_of(0)
    before = check(model, xs)
    change(model, 0.8)
    after = check(model, xs)
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


PROGRAM = """
import sys
import torch
cases = torch.load(sys.argv[1], weights_only=False)
for model, xs, expected in cases:
    with torch.no_grad():
        actual, _ = model(xs)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)
print(len(cases))
"""


def test_a_new_process_computes_the_same_after_all_changes(tmp_path):
    cases = []
    for index in (0, 5, 10):
        model, xs = learnable_copy(copy.deepcopy(MODELS[index]).double(), ()), input_of(index)
        with torch.no_grad():
            for factor in (0.8, 1.25):
                for change in (fused_optimizer, write_data, change_dt, change_surrogate, write_numpy, change_option):
                    change(model, factor)
                    zs, _ = model(xs)
        cases.append((model, xs, zs))
    torch.save(cases, tmp_path / "cases.pt")
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "cases.pt")], capture_output=True, text=True, check=False
    )
    assert run.stdout == f"{len(cases)}\n", run.stderr
