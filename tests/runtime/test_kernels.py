"""Kernels derived from a step equal the reference loop: outputs, states and every gradient."""

import copy
import ctypes
import dataclasses
import importlib.util
import math
import multiprocessing
import pickle
import re
import shutil
import subprocess
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn, Tensor

import geir
from geir._runtime import memory, native, sparse
from geir._runtime.kernels import cpu, source_of
from geir._runtime.kernels.fused import _program_of
from geir._runtime.kernels.program import Program
from geir.testing import close, learnable_copy, run, strong_input

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="there is no C compiler")

MODELS = [
    geir.LIF(),
    geir.LIF(
        integrator=geir.Euler(),
        reset_mechanism=geir.ResetBySubtraction(detach=False),
        surrogate=geir.surrogates.Triangle(),
    ),
    geir.LI(),
    geir.LIBox(),
    geir.LIFBox(),
    geir.IAF(),
    geir.ALIF(surrogate=geir.surrogates.MultiGaussian()),
    geir.AdEx(),
    geir.AdEx(integrator=geir.RungeKutta4(), surrogate=geir.surrogates.Sigmoid()),
    geir.LIFRefrac(period=3e-3),
    geir.Refractory(geir.ALIF(), period=2e-3),
]


def with_reference(model):
    """A copy that runs on the loop which defines the result; kernels are the default."""
    twin = copy.deepcopy(model)
    twin.unroll = geir.reference
    return twin


every_model = pytest.mark.parametrize("neuron", MODELS, ids=repr)


@every_model
@pytest.mark.parametrize("shape", [(), (4,), (3, 1), (3, 4)], ids=str)
def test_kernel_is_the_reference_with_all_gradients(neuron, shape):
    neuron = copy.deepcopy(neuron).double()
    model, xs = learnable_copy(neuron, shape), strong_input(neuron)
    close(run(model, xs), run(with_reference(model), xs))


@every_model
def test_float32_spikes_are_the_references(neuron):
    neuron = copy.deepcopy(neuron).float()
    xs = strong_input(copy.deepcopy(neuron).double()).float().repeat(1, 20, 1)
    (actual, _), (expected, _) = neuron(xs), with_reference(neuron)(xs)
    if isinstance(neuron, geir.AdEx):  # its exponential is rounded differently
        assert (actual != expected).float().mean() < 1e-3
    else:
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("steps", [1, 15, 16, 17, 200])
@pytest.mark.parametrize("size", [1, 255, 257, 3000])
def test_any_size_and_any_number_of_threads(steps, size):
    lif = geir.LIF(tau_mem=nn.Parameter(torch.full((size,), 8e-3, dtype=torch.float64))).double()
    xs = torch.rand(steps, 2, size, dtype=torch.float64)
    expected = run(with_reference(lif), xs)
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        close(run(lif, xs), expected)
    torch.set_num_threads(before)


def test_input_may_lie_in_memory_in_any_order():
    lif, loop = geir.LIF(), geir.LIF(unroll=geir.reference)
    xs = torch.rand(7, 30, 5).transpose(0, 1)
    close(lif(xs), loop(xs), 1e-6)
    close(lif(xs[:, :, ::2]), loop(xs[:, :, ::2]), 1e-6)


def test_a_change_of_what_is_not_a_tensor_is_seen():
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


def test_a_change_inside_a_setting_is_seen():
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


def test_a_setting_of_another_class_with_the_same_name_is_another():
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


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"every": 0}, "Fused.every must be a positive"), ({"output": torch.int64}, "Fused.output must be")],
)
def test_a_bad_setting_of_the_kernels_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        geir.Fused(**setting)


def test_nan_and_infinity_survive():
    xs = torch.rand(30, 8)
    xs[5, 0], xs[5, 1] = float("nan"), float("inf")
    for model in (geir.LI, geir.AdEx):
        expected, actual = model(unroll=geir.reference)(xs), model()(xs)
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


@pytest.mark.parametrize(
    ("model", "what"),
    [(Mixing, r"aten.mean \(test_kernels.py:\d+\)"), (Branching, r"aten.sum \(test_kernels.py:\d+\)")],
)
def test_what_cannot_be_fused_runs_on_the_reference_loop_and_says_why(model, what):
    xs = torch.rand(20, 5)
    with pytest.warns(RuntimeWarning, match=f"{model.__name__} runs on the reference loop: .*{what}"):
        actual = model()(xs)
    close(actual, model(unroll=geir.reference)(xs))
    model()(xs)  # once is enough


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    """A cache directory of its own, for the test to spoil."""

    def forget():
        for remembered in (native.cache_folder, native.compiler, native._machine, cpu.kernel):
            remembered.cache_clear()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forget()
    yield tmp_path
    monkeypatch.undo()
    forget()


@pytest.mark.usefixtures("empty_cache")
def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.warns(
        RuntimeWarning,
        match="LIF runs on the reference loop: there is no C compiler; install gcc or clang, or `pip install ziglang`",
    ):
        actual = geir.LIF(dt=1.25e-3)(torch.full((5, 3), 9.0))
    close(actual, geir.LIF(dt=1.25e-3, unroll=geir.reference)(torch.full((5, 3), 9.0)))


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed")
def test_without_a_compiler_ziglang_will_do(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    xs = torch.rand(40, 3, 50) * 2
    expected = geir.AdEx(unroll=geir.reference)(xs)[0]
    assert (geir.AdEx()(xs)[0] != expected).float().mean() < 1e-3


@pytest.mark.parametrize(
    ("neuron", "values"), [(geir.LI(), 0), (geir.LIF(), 1), (geir.LIFBox(), 1), (geir.ALIF(), 1), (geir.AdEx(), 3)]
)
def test_what_backward_writes_down_of_a_step_is_as_little_as_can_be(neuron, values):
    assert len(set(re.findall(r"h_\w+\[n\] =", geir._runtime.kernels.source_of(neuron)))) == values


# What is planted into the generated source of a LIF with two learnable parameters, and in place of what.
PLANTED = {
    "sign error in the table": ("= (-t", "= (+t"),
    "missing parameter gradient": ("l1[n] +=", "l1[n] *="),
    "recompute stops one step early": (
        "t < until; t++) {\n          const in_t *restrict xt = X",
        "t < until - 1; t++) {\n          const in_t *restrict xt = X",
    ),
    "recompute starts from the wrong checkpoint": (
        "C + (from / K * STATES",
        "C + ((from < K ? 0 : from / K - 1) * STATES",
    ),
    "state is kept one step late": ("if (C && t % K == 0)", "if (C && t % K == 1)"),
    "gradient of the last state is not read": ("take(g0, D ?", "take(g0, D == 0 ?"),
    "some neurons are left out": (
        "INDEPENDENT for (int64_t n = c; n < e; n++)",
        "INDEPENDENT for (int64_t n = c; n < e - 1; n++)",
    ),
    "a read of uninitialised memory": ("memcpy(b0, C + (from / K * STATES + 0) * N + o, m * sizeof(real))", "(void)0"),
    "neurons are taken for their neighbours": ("const real s1 = b1[n]", "const real s1 = b1[n ? n - 1 : 0]"),
}


def expect_caught(monkeypatch, device, old, new, model, xs):
    """Planted into the source that `device` (`cpu`, `gpu`) prints, an error must show in what the model gives."""
    expected = run(with_reference(model), xs)
    close(run(model, xs), expected)
    genuine = device.source

    places = 0

    def planted(*arguments):
        nonlocal places
        text = genuine(*arguments)
        places += text.count(old)
        return text.replace(old, new)

    monkeypatch.setattr(device, "source", planted)
    device.kernel.cache_clear()
    try:
        with pytest.raises(AssertionError):
            close(run(model, xs), expected)
    finally:
        device.kernel.cache_clear()
    assert places, f"there is no {old!r} to plant an error in"


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_error_is_caught(monkeypatch, kind):
    model = geir.LIF(
        integrator=geir.Euler(),
        dt=1.5e-3,
        tau_mem=nn.Parameter(torch.tensor(8e-3)),
        v_th=nn.Parameter(torch.tensor(1.1)),
    ).double()
    expect_caught(monkeypatch, cpu, *PLANTED[kind], model, strong_input(model).repeat(1, 1, 33)[..., :129])


@every_model
@pytest.mark.parametrize("every", [1, 3, 60])
def test_gradients_do_not_depend_on_how_often_the_state_is_kept(neuron, every):
    neuron = copy.deepcopy(neuron).double()
    model = learnable_copy(neuron, (4,))
    xs = strong_input(neuron)
    model.unroll = geir.Fused(checkpoint_every=16)
    expected = run(model, xs)
    model.unroll = geir.Fused(checkpoint_every=every)
    close(run(model, xs), expected, 0)


@every_model
def test_recorded_states_and_their_gradients_are_the_references(neuron):
    neuron = copy.deepcopy(neuron).double()
    model = learnable_copy(neuron)
    model.record_states = True
    xs = strong_input(neuron)
    close(run(model, xs), run(with_reference(model), xs))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
def test_spikes_may_be_small(dtype):
    xs = torch.rand(50, 3, 40) * 2
    zs, _ = geir.LIF(unroll=geir.Fused(output_dtype=dtype))(xs)
    assert zs.dtype == dtype
    assert zs.sum() > 10
    assert torch.equal(zs.float(), geir.LIF(unroll=geir.reference)(xs)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_rounded_nowhere_else(dtype):
    xs = (torch.rand(50, 3, 40) * 2).to(dtype)
    outcomes = []
    for unroll in (geir.Fused(), geir.reference):
        x = xs.clone().requires_grad_()
        zs, state = geir.LI(unroll=unroll)(x)
        zs.sum().backward()
        outcomes.append((zs, state, x.grad))
    close(*outcomes, 0)


# Every operator that a step may use, on numbers where it is defined, with its gradient.
OPERATIONS = [
    torch.abs, torch.sign, torch.exp, torch.exp2, torch.expm1, torch.sqrt, torch.rsqrt, torch.log, torch.log2, torch.log1p, torch.tanh,
    torch.sigmoid, torch.relu, torch.erf, torch.erfc, torch.sin, torch.cos, torch.atan, torch.floor, torch.ceil, torch.round, torch.trunc,
    torch.square, torch.reciprocal, torch.neg, nn.functional.softplus, nn.functional.silu, nn.functional.elu, nn.functional.leaky_relu,
    nn.functional.hardtanh, lambda x: x**2, lambda x: x**3, lambda x: x**-1, lambda x: x**0.5, lambda x: x**1.7, lambda x: x**-1.5, lambda x: x**-2,
    lambda x: torch.clamp(x, 0.2, 0.9), lambda x: torch.clamp(x, min=0.4), lambda x: torch.clamp_max(x, 0.5), lambda x: 1 - x, lambda x: 2 / x,
    lambda x: torch.maximum(x, 1 - x), lambda x: torch.minimum(x, 1 - x), lambda x: torch.where(x > 0.5, x * 2, -x),
    lambda x: torch.where((x > 0.2) & (x < 0.8) | ~(x <= 0.9), x, 0.0), lambda x: (x >= 0.5).to(x.dtype) * x, lambda x: x.masked_fill(x > 0.7, 0.1),
    lambda x: torch.logical_xor(x > 0.3, x > 0.6) * x, lambda x: torch.addcmul(x, x, x, value=0.3), lambda x: torch.sub(x, x * x, alpha=2),
    lambda x: torch.div(x, 0.3, rounding_mode="floor") + x, lambda x: x.clone().mul_(3).add_(1), lambda x: (x != 0.5) * x + (x == 0.5),
    lambda x: x + torch.zeros_like(x) + torch.ones_like(x) + torch.full_like(x, 2.5) + torch.tensor(1.5), lambda x: torch.lerp(x, x * x, 0.3),
]  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda f: f"{OPERATIONS.index(f)}-{f.__name__}")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_operator_is_pytorchs(operation, dtype):
    class Applying(geir.Dynamics[UState]):
        def rest(self):
            return UState(torch.zeros(()))

        def step(self, x, state):
            y = operation(x + 0.01 * state.v**2)
            return y, UState(0.5 * y)

    torch.manual_seed(0)
    xs = torch.rand(20, 300, dtype=dtype) + 0.01
    expected, actual = (run(Applying(unroll=unroll), xs) for unroll in (geir.reference, geir.Fused()))
    close(actual, expected, 1e-12 if dtype == torch.float64 else 1e-5)


# Functions that kernels have of their own, because those of C's library do not run in vectors.
FUNCTIONS = [torch.exp, torch.exp2, torch.expm1, torch.tanh, torch.log, torch.log2, torch.log1p, torch.sin, torch.cos]


def applied(function, xs, **settings):
    """A function of each number, computed in a neuron's step."""

    class Applying(geir.Dynamics[UState]):
        def rest(self):
            return UState(torch.zeros(()))

        def step(self, x, state):
            return function(x), state

    return Applying(**settings)(xs)[0]


@pytest.mark.parametrize("operation", [*FUNCTIONS, torch.sigmoid, torch.relu, lambda x: torch.clamp(x, -1, 1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_functions_of_extreme_numbers_are_pytorchs(operation, dtype):
    numbers = [
        0.0,
        -0.0,
        1e-30,
        -1e-7,
        1e-3,
        0.34,
        0.35,
        -0.35,
        1.0,
        -1.0,
        20,
        -20,
        87.0,
        88.5,
        88.72,
        89,
        -87,
        -88,
        -100,
        -103,
        -104,
        300,
        -300,
        709,
        710,
    ]
    xs = torch.tensor([*numbers, -708, -740, -750, float("inf"), -float("inf"), float("nan")], dtype=dtype)[None]
    expected, actual = (applied(operation, xs, unroll=unroll) for unroll in (geir.reference, geir.Fused()))
    torch.testing.assert_close(
        actual, expected, rtol=1e-14 if dtype == torch.float64 else 5e-7, atol=1e-45, equal_nan=True
    )


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("dtype", "wide"), [(torch.float32, np.float64), (torch.float64, np.longdouble)], ids=["float32", "float64"]
)
@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="there is nothing more exact than float64")
def test_functions_are_right_within_three_units_in_the_last_place(function, dtype, wide):
    torch.manual_seed(0)
    size, whole = 100_000, torch.int32 if dtype == torch.float32 else torch.int64
    limits = torch.iinfo(whole)
    anything = torch.randint(limits.min, limits.max, (size,), dtype=whole).view(
        dtype
    )  # every magnitude, denormal, infinity, NaN
    unit = torch.rand(size, dtype=dtype) * 2 - 1
    quarters = math.pi / 2 * torch.cat([torch.arange(1000), torch.randint(2**44, (size,))]).double()
    xs = torch.cat([anything, unit, 20 * unit, 1e3 * unit, 1e9 * unit, 1 + 1e-3 * unit, quarters.to(dtype)])
    xs[xs.abs() > (2.0**46 if function in (torch.sin, torch.cos) else torch.inf)] = 0.0
    actual = applied(function, xs[None])[0].numpy()
    with np.errstate(all="ignore"):
        exact = getattr(np, function.__name__)(xs.numpy().astype(wide))
        expected = exact.astype(actual.dtype)
        error = np.abs(actual - exact) / np.spacing(np.abs(expected))
    ordinary = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~ordinary], expected[~ordinary])
    assert error[ordinary].max() < 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_functions_where_they_are_simple_are_exact(dtype):
    powers = torch.arange(-100.0, 100.0, dtype=dtype)
    zero, one = torch.zeros(1, dtype=dtype), torch.ones(1, dtype=dtype)
    for function, xs, expected in [
        (torch.exp2, powers, 2**powers), (torch.log2, 2**powers, powers), (torch.exp, zero, one), (torch.log, one, zero), (torch.cos, zero, one),
    ]:  # fmt: skip
        assert torch.equal(applied(function, xs[None])[0], expected), function.__name__
    for function in (torch.sin, torch.log1p):
        assert 1 / applied(function, -zero[None])[0] == -torch.inf, f"{function.__name__} loses the sign of zero"


def test_sine_and_cosine_have_a_bound_beyond_which_they_are_nan():
    xs = torch.tensor([[2.0**46, -(2.0**46), 1.001 * 2.0**46, 1e30]])
    for function in (torch.sin, torch.cos):
        assert applied(function, xs).isnan().tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_loop_runs_in_vectors(dtype, tmp_path):
    if (
        "Free Software"
        not in subprocess.run([*native.compiler(), "--version"], capture_output=True, text=True, check=True).stdout
    ):
        pytest.skip("gcc alone says which loops do")
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("this processor has not all the instructions")

    class All(geir.Neuron[UState]):
        def rest(self):
            return UState(torch.zeros(()))

        def step(self, x, state):
            v = state.v + sum(
                function(x) for function in [*FUNCTIONS, torch.sign, torch.round, torch.floor, torch.sqrt]
            )
            return self.surrogate(v - 1), UState(v)

    source = source_of(All(surrogate=geir.surrogates.Circle()).to(dtype))
    (tmp_path / "kernel.c").write_text(source)
    command = [
        *native.compiler(),
        *native.FLAGS,
        "-fopt-info-vec-optimized",
        f"-I{native.HEADER.parent}",
        "kernel.c",
        "-o",
        "kernel.so",
        "-lm",
    ]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    vectors = set(map(int, re.findall(r"kernel\.c:(\d+):\d+: optimized: loop vectorized", said)))
    loops = {number for number, line in enumerate(source.splitlines(), 1) if line.lstrip().startswith("EACH_OF_STRIP")}
    assert len(loops) == 3
    assert loops <= vectors


def test_a_step_with_side_effects_runs_on_the_reference_loop():
    class Counting(Mixing):
        def step(self, x, state):
            self.count = getattr(self, "count", 0) + 1
            return self.surrogate(x + state.v), UState(x + state.v)

    model = Counting()
    with pytest.warns(RuntimeWarning, match="its step changes its attribute count"):
        model(torch.rand(7, 2))
    assert model.count == 7


def test_a_step_that_reads_a_plain_tensor_says_so():
    class Reading(Mixing):
        def step(self, x, state):
            return self.surrogate(x + self.weight), UState(x)

    model = Reading()
    model.weight = torch.rand(2)
    with pytest.warns(RuntimeWarning, match="register it as a buffer"):
        model(torch.rand(7, 2))


def test_there_is_no_second_derivative_and_the_error_says_what_to_do():
    x = torch.rand(9, 4, requires_grad=True)
    (d,) = torch.autograd.grad(geir.LI()(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="geir.reference"):
        d.sum().backward()


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.write_bytes(b"not a library"), lambda path: path.write_bytes(path.read_bytes()[:-100])],
    ids=["foreign", "cut short"],
)
def test_a_damaged_cache_is_repaired(empty_cache, damage):
    text = "int number(void) { return 7; }"
    assert native.load(text).number() == 7
    (path,) = (empty_cache / "geir").glob("*.so")
    assert path.parent.stat().st_mode & 0o077 == 0
    whole = path.read_bytes()
    path.unlink()  # a new file, for the loaded one is still mapped
    path.write_bytes(whole)
    damage(path)
    assert native.load(text).number() == 7
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_done_without(empty_cache):
    (empty_cache / "geir").write_text("a file where the folder should be")
    with pytest.warns(RuntimeWarning, match="there is no cache"):
        assert native.load("int number(void) { return 8; }").number() == 8


def test_a_cache_that_others_may_write_to_is_not_trusted(empty_cache):
    (empty_cache / "geir").mkdir()
    (empty_cache / "geir").chmod(0o777)
    with pytest.warns(RuntimeWarning, match="others may write to it"):
        assert native.load("int number(void) { return 9; }").number() == 9


@pytest.mark.usefixtures("empty_cache")
def test_a_compiler_that_fails_is_quoted():
    with pytest.raises(native.NoCompilerError, match=r"(?s)failed on .*\.c: .*error"):
        native.load("this is not C")


def _in_child(pipe, xs):
    pipe.send(geir.LIF()(xs)[0].sum().item())


def test_it_works_after_fork_and_in_workers():
    xs = torch.rand(100, 2000)
    expected = geir.LIF()(xs)[0].sum().item()
    here, there = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=_in_child, args=(there, xs))
    child.start()
    assert here.poll(60), "the child hangs"
    assert here.recv() == expected
    child.join()


def test_more_than_two_to_the_31_elements_are_counted_in_64_bits():
    # One part of a state, for two would lie far from each other.
    lif, xs = geir.LIFBox(), 20 * torch.rand(1, 300)
    text, start, fixed = _program_of(lif, "step", lif.initial_state(xs[0]), lif.prepare())
    program = Program.loads(text)
    function = native.load(cpu.source(program, [True] * len(fixed), [False] * len(fixed), xs.dtype, xs.dtype)).forward
    results = []
    for first in (0, 2**33):  # the same memory, as the last neurons of very many
        zs, state = torch.full_like(xs, torch.nan), torch.full_like(start, torch.nan)
        tensors = [xs, zs, start, state, None, None, *fixed]
        moved = [None if t is None else t.data_ptr() - 4 * first * (k < 4) for k, t in enumerate(tensors)]
        pointers, numbers = (ctypes.c_void_p * len(moved))(*moved), (ctypes.c_int64 * 3)(1, first + 300, 1)
        function(ctypes.byref(native.Job(ctypes.addressof(pointers), ctypes.addressof(numbers), 1024, first, 0)))
        results.append((zs, state))
    close(*results, 0)
    close(results[0][0], lif(xs)[0], 0)
    assert results[0][0].sum() > 10


class TestRecurrent:
    @pytest.mark.parametrize("model", [geir.LIF, geir.ALIF, geir.AdEx, geir.LIFRefrac], ids=lambda m: m.__name__)
    @pytest.mark.parametrize("record", [False, True])
    def test_is_the_reference_with_all_gradients(self, model, record):
        torch.manual_seed(0)
        net = geir.Recurrent(
            model(tau_mem=nn.Parameter(torch.full((6,), 9e-3))) if model is geir.LIF else model(),
            5,
            6,
            record_states=record,
        ).double()
        with torch.no_grad():
            net.input_weights.mul_(8)
        xs = torch.rand(50, 3, 5, dtype=torch.float64)
        actual, expected = run(net, xs), run(with_reference(net), xs)
        assert expected["zs"].sum() > 10
        close(actual, expected)

    @pytest.mark.parametrize(
        ("gain", "least", "most"), [(1.0, 0.005, sparse.SPARSE), (30.0, sparse.SPARSE, 1.0)], ids=["few", "many"]
    )
    @pytest.mark.parametrize("size", [40, 1500])  # one thread and several; more neurons than a block holds
    def test_few_spikes_and_many_give_the_references(self, gain, least, most, size):
        torch.manual_seed(0)
        net = geir.LIFRecurrent(5, size, v_th=torch.linspace(0.9, 1.1, size)).double()
        xs = gain * torch.rand(20, 3, 5, dtype=torch.float64) * (torch.arange(5) < 2)
        actual = run(net, xs)
        assert least < actual["zs"].mean() < most
        close(actual, run(with_reference(net), xs))

    def test_per_sample_gradients_and_ensembles(self):
        torch.manual_seed(0)
        net = geir.LIFRecurrent(5, 6).double()
        with torch.no_grad():
            net.input_weights.mul_(8)
        xs, parameters = torch.rand(30, 3, 5, dtype=torch.float64), dict(net.named_parameters())

        def loss(values, x):
            return (torch.func.functional_call(net, values, (x,))[0] * torch.linspace(-1, 1, 6)).sum()

        each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 1))(parameters, xs)
        stacked = {name: torch.stack([p.detach(), 1.1 * p.detach()]) for name, p in parameters.items()}
        both = torch.func.vmap(loss, in_dims=(0, None))(stacked, xs)
        net.unroll = geir.reference
        for name, gradients in each.items():
            close(gradients, torch.stack([torch.func.grad(loss)(parameters, xs[:, k])[name] for k in range(3)]))
        close(both, torch.stack([loss({name: p[k] for name, p in stacked.items()}, xs) for k in range(2)]))

    @pytest.mark.parametrize(
        "connection",
        [
            nn.Linear(6, 6),
            nn.Linear(6, 6, bias=False),
            nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 6)),
            nn.Identity(),
        ],
        ids=["Linear", "without bias", "Sequential", "Identity"],
    )
    def test_any_module_may_feed_back(self, connection):
        torch.manual_seed(0)
        net = geir.LIFRecurrent(5, 6, recurrent_weights=connection).double()
        with torch.no_grad():
            net.input_weights.mul_(8)
        xs = torch.rand(50, 3, 5, dtype=torch.float64)
        close(run(net, xs), run(with_reference(net), xs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.05, 0.6])
def test_products_with_spikes_are_pytorchs(dtype, share):
    torch.manual_seed(0)
    x = (torch.rand(7, 150, 140, dtype=dtype) < share) * torch.rand(7, 150, 140, dtype=dtype)
    outcomes = []
    for linear in (sparse.linear, nn.functional.linear):
        a, weights = (
            x.clone().requires_grad_(),
            torch.linspace(-1, 1, 130 * 140, dtype=dtype).view(130, 140).requires_grad_(),
        )
        y = linear(a, weights)
        y.square().sum().backward()
        outcomes.append((y, a.grad, weights.grad))
    close(*outcomes, 1e-9 if dtype == torch.float64 else 2e-3)


def test_a_product_with_spikes_does_not_look_at_data_that_is_not_there():
    net = geir.LIFRecurrent(5, 6)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        assert net.transform_input(torch.rand(7, 3, 5), over_time=True).shape == (7, 3, 6)


def test_a_product_with_spikes_has_a_second_derivative():
    x, weights = (
        (torch.rand(6, 4, dtype=torch.float64) < 0.2).double().requires_grad_(),
        torch.rand(3, 4, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradgradcheck(sparse.linear, (x, weights))


class TestMemory:
    def test_is_used_again_when_nothing_uses_it_any_more(self):
        memory.empty_cache()
        first = memory.empty([300, 1000], torch.zeros(1))
        part, address = first[100:200], first.data_ptr()
        del first
        second = memory.empty([300, 1000], torch.zeros(1))
        assert second.data_ptr() != address  # a part is still in use
        del part
        assert memory.empty([299, 1000], torch.zeros(1)).data_ptr() == address

    def test_is_kept_up_to_a_limit(self, monkeypatch):
        memory.empty_cache()
        monkeypatch.setattr(memory, "KEPT", 3 << 20)
        tensors = [memory.empty([1 << 20], torch.zeros(1, dtype=torch.uint8)) for _ in range(5)]
        del tensors
        assert sum(map(len, memory._free)) == 3 << 20

    def test_holds_what_outlives_the_run(self):
        lif, xs = geir.LIF(), torch.rand(50, 30, 100)
        zs, state = lif(xs)
        kept = zs.clone()
        for _ in range(3):
            lif(2 * xs)
        assert torch.equal(zs, kept)
        assert pickle.loads(pickle.dumps(zs)).equal(kept)
        assert copy.deepcopy(state.v).equal(state.v)


def test_a_module_that_feeds_back_can_be_differentiated_twice_over():
    torch.manual_seed(0)
    net = geir.LIFRecurrent(5, 6, recurrent_weights=nn.Sequential(nn.Linear(6, 6), nn.Tanh())).double()
    xs = 8 * torch.rand(20, 3, 5, dtype=torch.float64)
    loss = net(xs)[0].sum()
    parameters = list(net.parameters())
    close(torch.autograd.grad(loss, parameters, retain_graph=True), torch.autograd.grad(loss, parameters))


def test_operations_pass_pytorchs_own_check():
    lif = geir.LIF(tau_mem=nn.Parameter(torch.full((4,), 8e-3)))
    xs = torch.rand(20, 3, 4)
    program, start, fixed = _program_of(lif, "step", lif.initial_state(xs[0]), lif.prepare())
    fixed = [t.detach() for t in fixed]
    torch.library.opcheck(torch.ops.geir.run, (program, xs, start, fixed, [], 16, torch.float32, False))
    zs, after, kept = torch.ops.geir.run(program, xs, start, fixed, [], 16, torch.float32, False)
    for dstate in (after, None):
        torch.library.opcheck(
            torch.ops.geir.run_backward, (program, xs, zs, dstate, kept, fixed, [True] * len(fixed), [], 16, False)
        )


def test_a_network_compiles_whole():
    torch.compiler.reset()
    net = geir.SequentialState(nn.Linear(5, 6), geir.LIF(), nn.Linear(6, 4), geir.LIFRecurrent(4, 4), geir.LI())
    xs = torch.rand(20, 3, 5) * 3
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    outcomes = []
    for run_it in (net, compiled):
        net.zero_grad()
        zs, state = run_it(xs)
        zs.sum().backward()
        outcomes.append((zs, state, [p.grad for p in net.parameters()]))
    close(*outcomes, 1e-5)


def test_a_compiled_network_sees_changes():
    torch.compiler.reset()
    lif, xs = geir.LIF(), torch.rand(20, 3, 5) * 3
    compiled = torch.compile(lif, fullgraph=True, backend="aot_eager")
    close(compiled(xs), lif(xs), 1e-6)
    lif.dt = 2e-3
    close(compiled(xs), lif(xs), 1e-6)
    x, y = (xs.clone().requires_grad_() for _ in range(2))
    lif.surrogate = geir.surrogates.Triangle()
    compiled(x)[0].sum().backward()
    lif(y)[0].sum().backward()
    close(x.grad, y.grad, 1e-6)


def test_a_network_exports():
    net = geir.SequentialState(nn.Linear(5, 6), geir.LIF(), nn.Linear(6, 4), geir.LI())
    xs = torch.rand(20, 3, 5) * 3
    exported = torch.export.export(net, (xs,))
    close(exported.module()(xs), net(xs), 1e-6)
    assert any("geir.run" in str(node.target) for node in exported.graph.nodes)


def test_per_sample_gradients():
    lif = geir.LIF(tau_mem=nn.Parameter(torch.full((4,), 8e-3, dtype=torch.float64))).double()
    parameters = dict(lif.named_parameters())
    xs = strong_input(lif)

    def loss(values, x):
        return (torch.func.functional_call(lif, values, (x,))[0] * torch.linspace(-1, 1, 4)).sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 1))(parameters, xs)
    one_by_one = [torch.func.grad(loss)(parameters, xs[:, k]) for k in range(xs.shape[1])]
    for name in parameters:
        close(each[name], torch.stack([g[name] for g in one_by_one]))
