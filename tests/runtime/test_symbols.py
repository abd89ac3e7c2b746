"""Python numbers among the settings of a step are arguments of its kernels: they change without another compilation.

The right values are those of a new module with the same numbers, on the reference loop.
"""

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from model_table import MODELS
from pytorch_versions import requires_compile
from runtime_helpers import with_reference
from seeding import seeded
from torch import Tensor

import geir
from geir import surrogates as s
from geir._runtime.compiler import find_compiler
from geir._runtime.kernels import cpu, direct, direct_preparation, gpu, program_cache
from geir.testing import close, run, strong_input

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")

SPIKING = [model for model in MODELS if model.spiking and model.elementwise]
RECURRENT = seeded(
    lambda: [
        geir.LIFRecurrent(4, 4),
        geir.Recurrent(geir.Refractory(geir.ALIF(), period=2e-3), 4, 4),
        geir.Recurrent(geir.LIF(), 4, 4, recurrent_weights=torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())),
    ]
)
FACTORS = (1.0, 0.5, 2.0, 3.0)


@dataclasses.dataclass(frozen=True)
class Own(s.Surrogate):
    """A surrogate of a user: of two numbers, one of them an integer."""

    slope: float = 3.0
    power: int = 2

    def derivative(self, x: Tensor) -> Tensor:
        scaled = x.abs() * (self.slope + 1) / (2 * self.power - 1)
        return 1 / (1 + scaled) ** 2 - 0.01 * -self.slope


BUILT_IN = [
    s.SuperSpike(20.0), s.SparseFastSigmoid(20.0, 0.3), s.Sigmoid(3.0), s.ATan(3.0), s.Triangle(0.3, 0.7), s.Rectangle(0.8),
    s.Gaussian(0.4), s.MultiGaussian(0.5, 0.15, 6.0), s.Erfc(3.0), s.Tanh(3.0), s.Circle(3.0), s.PiecewiseExponential(3.0),
    s.MultiSpike(0.5, s.Triangle()), s.MultiSpike(0.5, maximum=3), s.TernarySpike(0.3), s.GradedSpike(0.7),
    s.StraightThrough(), s.ZeroGradient(), Own(),
]  # fmt: skip


class Work(NamedTuple):
    """How often a step was traced and kernels were compiled."""

    traces: int
    compilations: int


@pytest.fixture
def count_work(monkeypatch):
    """A function that returns the work done since the test began."""
    traced = []
    genuine = program_cache.trace

    def trace(*arguments):
        result = genuine(*arguments)
        traced.append(result)
        return result

    monkeypatch.setattr(program_cache, "trace", trace)
    cpu.kernel.cache_clear()
    program_cache._programs.clear()
    program_cache._literals.clear()
    return lambda: Work(len(traced), cpu.kernel.cache_info().misses)


def spiking_part(model):
    """The module that holds the surrogate of a model."""
    return next(part for part in model.modules() if "surrogate" in vars(part))


def scaled(surrogate, factor):
    """A new surrogate, all of its numbers times a factor."""
    numbers = {
        field.name: getattr(surrogate, field.name) * factor
        for field in dataclasses.fields(surrogate)
        if type(getattr(surrogate, field.name)) is float
    }
    nested = {
        field.name: scaled(getattr(surrogate, field.name), factor)
        for field in dataclasses.fields(surrogate)
        if isinstance(getattr(surrogate, field.name), s.Surrogate)
    }
    return dataclasses.replace(surrogate, **numbers, **nested)


def fresh(model):
    """A copy that was never run before, on the reference loop."""
    return with_reference(model)


def anneal(model, xs, surrogate, count_work=None, tolerance=1e-8):
    """Run with the surrogate at every factor, and compare with a new module on the reference loop."""
    gradients = []
    for factor in FACTORS:
        spiking_part(model).surrogate = scaled(surrogate, factor)
        actual = run(model, xs)
        if count_work and factor == FACTORS[0]:
            first = count_work()
        close(actual, run(fresh(model), xs), tolerance)
        gradients.append(actual["xs.grad"])
    if count_work:
        assert count_work() == first
        assert first.traces == 1
    return gradients


def input_of(model):
    xs = strong_input(copy.deepcopy(model).double())
    return xs if next(model.parameters(), torch.zeros(())).dtype == torch.float64 else xs.float()


@pytest.mark.parametrize("model", [*SPIKING, *RECURRENT], ids=lambda model: repr(model).replace("\n", ""))
def test_annealing_the_surrogate_of_every_model_compiles_once(model, count_work):
    model = copy.deepcopy(model).double()
    gradients = anneal(model, input_of(model), spiking_part(model).surrogate, count_work)
    assert not torch.equal(gradients[0], gradients[1]), "the surrogate does not act on the gradient"


@pytest.mark.parametrize("surrogate", BUILT_IN, ids=repr)
def test_annealing_every_surrogate_compiles_once(surrogate, count_work):
    reset = geir.ResetBySubtraction() if surrogate.multiple_spikes else geir.ResetToValue()
    model = geir.LIF(tau_mem=geir.learnable(0.02), surrogate=surrogate, reset_mechanism=reset).double()
    gradients = anneal(model, input_of(model), surrogate, count_work)
    if dataclasses.fields(surrogate):
        assert not torch.equal(gradients[0], gradients[1])


@pytest.mark.parametrize("surrogate", [s.SuperSpike(20.0), s.MultiGaussian(), Own()], ids=repr)
def test_the_spikes_in_float32_equal_those_of_the_reference_loop_to_the_bit(surrogate):
    model = geir.LIF(integrator=geir.Euler(), surrogate=surrogate)
    xs = input_of(model)
    for dt in (1e-3, 0.7e-3, 1.3e-3):
        model.dt = dt
        (actual, state), (expected, reference_state) = model(xs), fresh(model)(xs)
        assert torch.equal(actual, expected)
        assert torch.equal(state.v, reference_state.v)
    assert actual.sum() > 0


def test_annealing_two_layers_in_a_training_loop_compiles_each_once(count_work):
    torch.manual_seed(1)
    layers = [geir.LIF(), geir.Refractory(geir.LIF(), period=2e-3)]
    net = geir.SequentialState(torch.nn.Linear(5, 6), layers[0], torch.nn.Linear(6, 4), layers[1])
    twin = copy.deepcopy(net)
    xs = 40 * torch.rand(30, 2, 5)
    optimizers = [torch.optim.SGD(each.parameters(), 1e-2) for each in (net, twin)]
    for step in range(4):
        losses = []
        for each, optimizer, unroll in zip((net, twin), optimizers, (geir.Fused(), geir.reference), strict=True):
            for layer in each.modules():
                if "surrogate" in vars(layer):
                    layer.surrogate = s.SuperSpike(5.0 + step)
                if hasattr(layer, "unroll"):
                    layer.unroll = unroll
            optimizer.zero_grad()
            loss = each(xs)[0].square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        torch.testing.assert_close(*losses)
        if step == 0:
            first = count_work()
    torch.testing.assert_close(dict(net.named_parameters()), dict(twin.named_parameters()), rtol=1e-4, atol=1e-6)
    assert count_work() == first
    assert first.traces == 2


@pytest.mark.parametrize("size", [(30, 2, 4), (30, 16, 256)], ids=["direct", "ordinary"])
@pytest.mark.parametrize(
    "layer", seeded(lambda: [geir.LIF(), geir.LIFCell(), geir.LIFRecurrent(4, 4)]), ids=lambda m: type(m).__name__
)
def test_the_backward_pass_uses_the_surrogate_of_its_forward_pass(layer, size):
    if isinstance(layer, geir.LIFRecurrent) and size[-1] != 4:
        pytest.skip("a recurrent layer of one size is enough")
    layer = copy.deepcopy(layer)
    layer.surrogate = s.SuperSpike(5.0)
    xs = 4 * torch.rand(size)
    steps = isinstance(layer, geir.LIFCell)

    def gradient(model, change):
        x = xs.clone().requires_grad_()
        if steps:
            state, zs = None, []
            for each in x:
                z, state = model(each, state)
                zs.append(z)
            zs = torch.stack(zs)
        else:
            zs, _ = model(x)
        if change:
            model.surrogate = s.SuperSpike(80.0)
            with torch.no_grad():
                model(xs[0] if steps else xs)
        zs.sum().backward()
        return x.grad

    for _ in range(3):  # the third call is direct
        layer.surrogate = s.SuperSpike(5.0)
        expected = gradient(copy.deepcopy(layer), change=False)
        torch.testing.assert_close(gradient(layer, change=True), expected)
        assert expected.abs().sum() > 0


@pytest.mark.parametrize("in_place", [False, True], ids=["new object", "same object"])
def test_direct_calls_notice_a_surrogate_with_other_numbers(in_place):
    layer, xs = geir.LIF(surrogate=s.SuperSpike(5.0)), 4 * torch.rand(20, 3)
    results = []
    for alpha in (5.0, 5.0, 5.0, 5.0, 50.0, 50.0, 50.0, 5.0, 20.0):
        if in_place:
            object.__setattr__(layer.surrogate, "alpha", alpha)
        else:
            layer.surrogate = s.SuperSpike(alpha)
        actual, expected = run(layer, xs), run(fresh(layer), xs)
        close(actual, expected, 1e-5)
        results.append(actual["xs.grad"])
    assert not torch.allclose(results[3], results[4])


def test_direct_calls_are_not_prepared_again_for_a_new_surrogate(monkeypatch):
    layer, xs = geir.LIF(surrogate=s.SuperSpike(5.0)), 4 * torch.rand(20, 3)
    for _ in range(3):
        layer(xs)
    monkeypatch.setattr(direct_preparation, "_make_call", lambda *_: pytest.fail("it is prepared again"))
    for alpha in (6.0, 7.0, 8.0):
        layer.surrogate = s.SuperSpike(alpha)
        close(run(layer, xs)["xs.grad"], run(fresh(layer), xs)["xs.grad"], 1e-5)
    assert type(layer._memo.direct) is direct.PreparedCalls


class State(NamedTuple):
    v: Tensor


class Reading(geir.Dynamics[State]):
    """A step that reads two numbers; a function says how."""

    how: Callable[[geir.Dynamics], Tensor | float] = geir.core.parameters.setting(default=None)

    def __init__(self, how, gain=2.0, count=3):
        super().__init__(how=how)
        self._gain, self._count = gain, count

    def rest(self):
        return State(torch.zeros(()))

    def step(self, x, state):
        v = 0.5 * state.v + x * self.how(self)
        return v, State(v)


def by_branch(model):
    return 1.0 if model._gain > 3 else 2.0


def by_caught_error(model):
    try:
        return math.exp(model._gain)
    except TypeError:
        return 7.0


def by_type(model):
    return model._gain * 2 if isinstance(model._gain, float) and isinstance(model._count, int) else 100.0


# How a step may use the numbers, and whether these remain arguments of the kernel.
USES = {
    "product": (lambda m: m._gain, True),
    "arithmetic": (
        lambda m: (m._gain + 1) * 3 / (7 - m._gain) - 2**m._gain % 3 + (-m._gain) // 2 + abs(m._count),
        True,
    ),
    "tensor": (lambda m: torch.sigmoid(m._gain * m.scale) + m._count - m.scale, True),
    "reflected": (lambda m: m._gain / (m._count - m.scale) - (m.scale / m._gain) - m._gain, True),
    "clamp": (lambda m: torch.clamp(m.scale, min=m._gain / 9, max=m._count), True),
    "where": (lambda m: torch.where(m.scale > m._gain, m._gain, m._count * m.scale), True),
    "numpy number": (lambda m: m._gain * np.float64(3.0) + np.float64(3.0) * m._gain, True),
    "kinds": (by_type, True),
    "exponent": (lambda m: m.scale**m._gain + 2.0**m._count, False),
    "base": (lambda m: m._gain**m.scale, False),
    "branch": (by_branch, False),
    "exponential": (lambda m: math.exp(m._gain), False),
    "caught error": (by_caught_error, False),
    "range": (lambda m: sum(m.scale * k for k in range(m._count)) * m._gain, False),
    "text": (lambda m: float(f"{m._gain:.2f}"), False),
    "dictionary": (lambda m: {2.0: 1.5}.get(m._gain, 4.0), False),
    "rounding": (lambda m: round(m._gain / 3) + int(m._gain), False),
    "tensor of a number": (lambda m: torch.tensor(m._gain), False),
    "full": (lambda m: torch.full((), m._gain), False),
    "alpha": (lambda m: torch.add(m.scale, m.scale, alpha=m._count), False),
    "division": (lambda m: divmod(m._gain, 1.5)[1], False),
}


@pytest.mark.filterwarnings("ignore:.* runs on the reference loop")
@pytest.mark.parametrize("name", USES)
def test_whatever_a_step_does_with_numbers_equals_the_reference_loop(name, count_work):
    how, is_argument = USES[name]

    class Scaled(Reading):
        scale: geir.Parameter = geir.parameter(default=0.7)

    model = Scaled(how).double()
    xs = torch.rand(6, 3, dtype=torch.float64)
    programs = []
    for gain, count in ((2.0, 3), (2.5, 2), (-4.25, 5), (math.inf, 4), (0.0, 1), (-0.0, 1), (2.0, 3)):
        model._gain, model._count = gain, count
        try:
            expected, _ = fresh(model)(xs)
        except (ArithmeticError, ValueError) as error:
            with pytest.raises(type(error)):
                model(xs)
            continue
        torch.testing.assert_close(model(xs)[0], expected, rtol=1e-12, atol=1e-12, equal_nan=True)
        programs.append(model._memo.program.program.traced.program)
    assert (len({*programs}) == 1) == is_argument


def test_the_sign_of_zero_and_large_numbers_reach_the_kernel():
    class Inverse(Reading):
        scale: geir.Parameter = geir.parameter(default=1.0)

    model = Inverse(lambda m: 1 / (m._gain * m.scale)).double()
    xs = torch.ones(1, 1, dtype=torch.float64)
    for gain in (0.0, -0.0, 1e300, -math.inf):
        model._gain = gain
        torch.testing.assert_close(model(xs)[0], fresh(model)(xs)[0], rtol=0, atol=0)


def test_numbers_are_computed_in_double_precision_before_they_are_rounded():
    model = Reading(lambda m: 1e-3 / (m._gain - 1), gain=1 + 1e-9)
    xs = torch.rand(4, 3)
    torch.testing.assert_close(model(xs)[0], fresh(model)(xs)[0], rtol=0, atol=0)


@dataclasses.dataclass(frozen=True)
class Branching(s.Surrogate):
    slope: float = 1.0

    def derivative(self, x):
        return torch.exp(-x.abs()) if self.slope > 2 else math.exp(-self.slope) / (1 + x.abs())


@dataclasses.dataclass(frozen=True)
class Computed(s.Surrogate):
    """A field is computed from another one when the surrogate is made."""

    slope: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "_inverse", 1 / self.slope)

    def derivative(self, x):
        return 1 / (self._inverse + x.abs())


SHARED = Own(2.0)


@pytest.mark.parametrize("kind", [Branching, Computed], ids=lambda kind: kind.__name__)
def test_surrogates_that_need_their_numbers_are_never_stale(kind):
    model = geir.LIF(surrogate=kind()).double()
    xs = input_of(model)
    gradients = anneal(model, xs, kind())
    assert not torch.equal(gradients[0], gradients[2])


def test_a_number_that_is_reached_in_two_ways_is_never_stale():
    model, xs = Reading(lambda m: m.held.slope + SHARED.slope), torch.rand(4, 3)
    model.held = SHARED
    results = []
    try:
        for slope in (2.0, 5.0):
            object.__setattr__(SHARED, "slope", slope)
            results.append(model(xs)[0])
            torch.testing.assert_close(results[-1], fresh(model)(xs)[0])
    finally:
        object.__setattr__(SHARED, "slope", 2.0)
    assert not torch.equal(*results)


def test_a_number_of_a_module_that_a_closure_reaches_is_never_stale():
    model = Reading(lambda m: m._gain)
    model.read = lambda: model._gain
    model.how = lambda m: m.read()
    xs = torch.rand(4, 3)
    for gain in (1.0, 4.0, 5.0):
        model._gain = gain
        torch.testing.assert_close(model(xs)[0][0], gain * xs[0])


@pytest.mark.parametrize(
    "neuron", [geir.LIF(), geir.Refractory(geir.ALIF(), period=2e-3)], ids=lambda m: type(m).__name__
)
def test_annealing_runs_the_same_triton_kernel(neuron, monkeypatch):
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(cpu, "kernel", gpu.kernel)
    gpu.kernel.cache_clear()
    try:
        model = copy.deepcopy(neuron).double()
        with np.errstate(all="ignore"):
            anneal(model, input_of(model)[:8], s.SuperSpike(10.0))
        assert gpu.kernel.cache_info().misses <= 2  # with and without gradients of constants
    finally:
        gpu.kernel.cache_clear()


@requires_compile
def test_annealing_under_torch_compile_is_never_stale():
    torch.compiler.reset()
    layer = geir.LIF()
    compiled = torch.compile(layer, backend="aot_eager")
    xs = 4 * torch.rand(12, 2, 3)
    gradients = []
    for alpha in (5.0, 6.0, 7.0, 50.0, 51.0):
        layer.surrogate = s.SuperSpike(alpha)
        results = []
        for each in (compiled, fresh(layer)):
            x = xs.clone().requires_grad_()
            zs, _ = each(x)
            zs.sum().backward()
            results.append(x.grad)
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
        gradients.append(results[0])
    assert not torch.allclose(gradients[0], gradients[-1])
