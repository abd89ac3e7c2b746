"""Generated code uses the model's own names, whatever they are."""

import keyword
import re
from typing import NamedTuple

import pytest
import torch
from runtime_helpers import with_reference
from torch import nn, Tensor

import geir
from geir._runtime import compiler
from geir._runtime.kernels import source_of
from geir._runtime.kernels.names import constant_names, FORMS, reserved_words, state_names
from geir.testing import close, run

pytestmark = pytest.mark.skipif(compiler.find_compiler() is None, reason="there is no C compiler")

# Names that mean something in C, in Triton or in the templates, or that clash with each other.
HOSTILE = [
    "x", "z", "t", "t0", "t1", "n", "o", "j", "lane", "double", "int", "real", "mask", "exp", "exp_", "fabs", "sqrt", "sqrtf", "fma_", "BLOCK",
    "STATES", "I", "NAN", "M_PI", "linux", "unix", "lambda", "tl", "triton", "None", "range", "input", "output", "steps", "neurons", "weights",
    "args", "grad_z", "grad_x", "v", "grad_v", "v_block", "v_ptr", "tape_v", "v_size", "main", "memcpy", "forward", "backward", "job", "first", "count",
    "τ", "w1", "_w1", "Ω_m", "match", "self", "inline", "float", "const", "uint8_t", "static", "complex", "workspace_ptr",
]  # fmt: skip


class HostileState(NamedTuple):
    t: Tensor
    double: Tensor
    grad_z: Tensor


class Hostile(geir.Dynamics[HostileState]):
    """A step that uses parameters and buffers of the given names."""

    def __init__(self, names, learnable):
        super().__init__()
        for k, name in enumerate(names):
            value = torch.linspace(0.5, 0.6, 4) + 0.001 * k if k % 8 == 0 else torch.tensor(0.6 + 0.001 * k)
            value = value.double()
            if learnable and k % 5 == 0:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)

    def rest(self):
        return HostileState(torch.zeros(()), torch.ones(()), torch.full((), 0.5))

    def step(self, x, state):
        y = x + torch.exp(-state.double) * state.t
        for tensor in (*self._parameters.values(), *self._buffers.values()):
            y = y * tensor + 0.1
        return y, HostileState(y * state.t, state.grad_z * 0.5, state.double + y)


def usable(names):
    """Those that PyTorch takes as names of parameters, and that the test's base class does not use."""
    taken = set(dir(geir.Dynamics)) | {"self", "None"}
    return [name for name in names if name not in taken and "." not in name]


def test_a_model_with_hostile_names_equals_the_reference():
    torch.manual_seed(0)
    model, xs = Hostile(usable(HOSTILE), learnable=True), torch.rand(5, 2, 4, dtype=torch.float64)
    close(run(model, xs), run(with_reference(model), xs))


def test_identifiers_are_valid_and_no_two_share_a_form():
    taken = set()
    identifiers = [*state_names(["v", "neuron.v", "t"], taken), *constant_names(HOSTILE, (), taken)]
    assert len(identifiers) == 3 + len(HOSTILE)
    forms = [form.format(name) for name in identifiers for form in FORMS]
    assert len(set(forms)) == len(forms)
    for name in identifiers:
        assert re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII)
        assert not keyword.iskeyword(name)
        assert name not in reserved_words()


def test_ordinary_names_stay_as_they_are():
    names = [
        "v",
        "i",
        "w",
        "m",
        "h",
        "n",
        "u",
        "a",
        "b",
        "tau_mem",
        "v_th",
        "E_exc",
        "log_tau_mem",
        "dt",
        "R",
        "C",
        "g_l",
        "delta_T",
    ]
    assert state_names(names, set()) == names
    assert constant_names(names, (), set()) == names


def test_prepared_values_are_named_by_their_paths():
    class Coefficients(NamedTuple):
        propagator: dict
        rest: list

    one = torch.zeros(())
    values = (Coefficients({("v", "i"): one, ("i", "i"): one}, [one, one]), one, {"decay": one})
    names = constant_names(["neuron.tau_mem"], values, set())
    assert names == [
        "neuron_tau_mem",
        "propagator_v_i",
        "propagator_i_i",
        "prepared_0_rest_0",
        "prepared_0_rest_1",
        "prepared_1",
        "decay",
    ]


def test_the_source_of_a_model_contains_the_names_of_its_parameters_and_states():
    text = source_of(geir.LIF(integrator=geir.Euler(), tau_mem=geir.learnable(8e-3)))
    for line in (
        "const real tau_mem =",
        "const real v = v_block[lane]",
        "const real i = i_block[lane]",
        "grad_tau_mem_block[lane] +=",
    ):
        assert line.replace("tau_mem", "log_tau_mem") in text or line in text, line
    text = source_of(geir.LIF())
    assert "const real propagator_v_i = args->propagator_v_i[0];" in text
    assert "neuron_v_block" in source_of(geir.LIFRefrac())
