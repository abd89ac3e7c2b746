"""Kernels derived from a step equal the reference loop: outputs, states and every gradient."""

import shutil
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

import geir
from geir.kernels import cpu
from geir.kernels.fused import _program_of, fixed_of, fused
from geir.testing import close, learnable_copy, run, strong_input

pytestmark = pytest.mark.skipif(cpu.compiler() is None, reason="there is no C compiler")

MODELS = [
    geir.LIF(),
    geir.LIF(integrator=geir.Euler(), reset_mechanism=geir.ResetBySubtraction(detach=False), surrogate=geir.Triangle()),
    geir.LI(),
    geir.LIBox(),
    geir.LIFBox(),
    geir.IAF(),
    geir.LSNN(surrogate=geir.MultiGaussian()),
    geir.Adex(),
    geir.Adex(integrator=geir.RungeKutta4(), surrogate=geir.Sigmoid()),
    geir.LIFRefrac(period=3e-3),
    geir.Refractory(geir.LSNN(), period=2e-3),
]
every_model = pytest.mark.parametrize("neuron", MODELS, ids=repr)


@every_model
@pytest.mark.parametrize("shape", [(), (4,), (3, 1), (3, 4)], ids=str)
def test_kernel_is_the_reference_with_all_gradients(neuron, shape):
    model = learnable_copy(neuron.double(), shape)
    xs = strong_input(neuron)
    expected = run(model, xs)
    model.unroll = fused
    close(run(model, xs), expected)


@every_model
def test_float32_spikes_are_the_references(neuron):
    neuron = neuron.float()
    xs = strong_input(neuron.double()).float().repeat(1, 20, 1)
    neuron.float()
    expected, _ = neuron(xs)
    neuron.unroll = fused
    actual, _ = neuron(xs)
    neuron.unroll = geir.reference
    if isinstance(neuron, geir.Adex):  # its exponential is rounded differently
        assert (actual != expected).float().mean() < 1e-3
    else:
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("steps", [1, 15, 16, 17, 200])
@pytest.mark.parametrize("size", [1, 255, 257, 3000])
def test_any_size_and_any_number_of_threads(steps, size):
    lif = geir.LIF(tau_mem=nn.Parameter(torch.full((size,), 8e-3, dtype=torch.float64))).double()
    xs = torch.rand(steps, 2, size, dtype=torch.float64)
    expected = run(lif, xs)
    lif.unroll = fused
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        close(run(lif, xs), expected)
    torch.set_num_threads(before)


def test_input_may_lie_in_memory_in_any_order():
    lif = geir.LIF(unroll=fused)
    xs = torch.rand(7, 30, 5).transpose(0, 1)
    close(lif(xs), geir.LIF()(xs.contiguous()), 1e-6)
    close(lif(xs[:, :, ::2]), geir.LIF()(xs[:, :, ::2].contiguous()), 1e-6)


def test_a_change_of_what_is_not_a_tensor_is_seen():
    lif, xs = geir.LIF(unroll=fused, integrator=geir.Euler()), torch.rand(50, 4)
    for change in ({"dt": 2e-3}, {"surrogate": geir.Triangle()}, {"tau_mem": 5e-3}, {"reset_mechanism": geir.ResetBySubtraction()}):
        for name, value in change.items():
            setattr(lif, name, value)
        twin = geir.LIF(integrator=geir.Euler(), **{k: getattr(lif, k) for k in ("dt", "surrogate", "tau_mem", "reset_mechanism")})
        x = xs.clone().requires_grad_()
        y = xs.clone().requires_grad_()
        lif(x)[0].sum().backward()
        twin(y)[0].sum().backward()
        close(x.grad, y.grad, 1e-6)


def test_nan_and_infinity_survive():
    xs = torch.rand(30, 8)
    xs[5, 0], xs[5, 1] = float("nan"), float("inf")
    for model in (geir.LI, geir.Adex):
        expected, actual = model()(xs), model(unroll=fused)(xs)
        torch.testing.assert_close(actual, expected, equal_nan=True, rtol=1e-5, atol=1e-5)


class UState(NamedTuple):
    v: Tensor


class Mixing(geir.Neuron[UState]):
    """Not elementwise."""

    def rest(self):
        return UState(torch.zeros(()))

    def step(self, x, state):
        v = state.v + x - x.mean()
        return self.surrogate(v - 1), UState(v)


class Branching(Mixing):
    """Python decides by the data."""

    def step(self, x, state):
        v = state.v + x if x.sum() > 0 else state.v
        return self.surrogate(v - 1), UState(v)


@pytest.mark.parametrize(("model", "what"), [(Mixing, "aten.mean"), (Branching, "cannot be traced")])
def test_what_cannot_be_fused_runs_on_the_reference_loop_and_says_why(model, what):
    xs = torch.rand(20, 5)
    with pytest.warns(RuntimeWarning, match=f"{model.__name__} runs on the reference loop: .*{what}"):
        actual = model(unroll=fused)(xs)
    close(actual, model()(xs))
    model(unroll=fused)(xs)  # once is enough


def test_without_a_compiler_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    cpu.compiler.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="LIF runs on the reference loop: there is no C compiler; install gcc or clang"):
            geir.LIF(unroll=fused, dt=1.25e-3, integrator=geir.Euler())(torch.rand(5, 3))
    finally:
        monkeypatch.undo()
        cpu.compiler.cache_clear()


def test_a_planted_error_in_the_table_is_caught(monkeypatch, tmp_path):
    from geir.kernels import emit

    monkeypatch.setitem(emit._ARITHMETIC, torch.ops.aten.neg, "({0})")
    model, xs = geir.LIF(integrator=geir.Euler(), dt=1.5e-3).double(), strong_input(geir.LIF().double())
    expected = run(learnable_copy(model), xs)
    model.unroll = fused
    with pytest.raises(AssertionError):
        close(run(learnable_copy(model), xs), expected)


def test_generated_source_reads_like_the_step():
    lif = geir.LIF()
    program = _program_of(lif, lif.initial_state(torch.zeros(2)), fixed := fixed_of(lif, lif.prepare()))
    text = cpu.source(program, "float", (True,) * len(fixed.tensors), (False,) * len(fixed.tensors))
    assert "{{" not in text
    assert text.count("void ") == 2
