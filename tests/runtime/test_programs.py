"""Tracing a step: which operators a program can have, which steps cannot be traced, and the tape."""

import re

import pytest
import torch
from runtime_helpers import applying, every_operation, NotElementwise, UState

import geir
from geir._runtime import compiler
from geir._runtime.kernels import source_of
from geir.testing import close, run

pytestmark = pytest.mark.skipif(compiler.find_compiler() is None, reason="there is no C compiler")


class Branching(NotElementwise):
    """Python decides by the data."""

    def step(self, x, state):
        v = state.v + x if x.sum() > 0 else state.v
        return self.surrogate(v - 1), UState(v)


@pytest.mark.parametrize(
    ("model", "what"),
    [(NotElementwise, r"aten.mean \(runtime_helpers.py:\d+\)"), (Branching, r"aten.sum \(test_programs.py:\d+\)")],
)
def test_a_step_that_cannot_be_fused_runs_on_the_reference_loop_with_one_warning(model, what):
    xs = torch.rand(20, 5)
    with pytest.warns(RuntimeWarning, match=f"{model.__name__} runs on the reference loop: .*{what}"):
        actual = model()(xs)
    close(actual, model(unroll=geir.reference)(xs))
    model()(xs)  # once is enough


def test_a_step_with_side_effects_runs_on_the_reference_loop():
    class Counting(NotElementwise):
        def step(self, x, state):
            self.count = getattr(self, "count", 0) + 1
            return self.surrogate(x + state.v), UState(x + state.v)

    model = Counting()
    with pytest.warns(RuntimeWarning, match="its step changes its attribute count"):
        model(torch.rand(7, 2))
    assert model.count == 7


def test_a_step_that_reads_a_plain_tensor_warns():
    class Reading(NotElementwise):
        def step(self, x, state):
            return self.surrogate(x + self.weight), UState(x)

    model = Reading()
    model.weight = torch.rand(2)
    with pytest.warns(RuntimeWarning, match="register it as a buffer"):
        model(torch.rand(7, 2))


@pytest.mark.parametrize(
    ("neuron", "values"), [(geir.LI(), 0), (geir.LIF(), 1), (geir.LIFBox(), 1), (geir.ALIF(), 1), (geir.AdEx(), 3)]
)
def test_the_tape_has_as_few_rows_as_possible(neuron, values):
    assert len(set(re.findall(r"tape_\w+\[lane\] =", source_of(neuron)))) == values


@every_operation
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_operator_equals_pytorch(operation, dtype):
    torch.manual_seed(0)
    xs = torch.rand(20, 300, dtype=dtype) + 0.01
    expected, actual = (run(applying(operation)(unroll=unroll), xs) for unroll in (geir.reference, geir.Fused()))
    close(actual, expected, 1e-12 if dtype == torch.float64 else 1e-5)
