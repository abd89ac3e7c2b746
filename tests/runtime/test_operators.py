"""Every overload and argument of the operators that a step may use: kernels give PyTorch's numbers, to the bit where every
library has the same, or the step runs on the reference loop. Nothing is ignored."""

import pytest
import torch
from runtime_helpers import apply_in_step, prepared, UState
from torch import nn
from torch.nn import functional

import geir
from geir._runtime import compiler
from geir._runtime.kernels.program import Program
from geir.testing import close, run

pytestmark = [
    pytest.mark.skipif(compiler.find_compiler() is None, reason="there is no C compiler"),
    pytest.mark.filterwarnings("ignore:.*runs on the reference loop"),
]

# x is the input, y another value of the same shape.
EXACT = {
    "add": lambda x, y: x + y,
    "add a number": lambda x, y: x + 0.3,
    "add, alpha": lambda x, y: torch.add(x, y, alpha=2.5),
    "add a number, alpha": lambda x, y: torch.add(x, 0.7, alpha=2),
    "add a number, alpha by position": lambda x, y: torch.ops.aten.add.Scalar(x, 0.7, 2),
    "add a mask, alpha": lambda x, y: torch.add(x, y > 0, alpha=0.3),
    "add in place, alpha": lambda x, y: x.clone().add_(y, alpha=0.3),
    "add negative zero": lambda x, y: 1 / (x * 0.0 + -0.0),
    "add zero": lambda x, y: 1 / (x * 0.0 + 0.0),
    "sub": lambda x, y: x - y,
    "sub, alpha": lambda x, y: torch.sub(x, y, alpha=0.3),
    "sub a number, alpha": lambda x, y: torch.sub(x, 0.7, alpha=2),
    "sub a number, alpha by position": lambda x, y: torch.ops.aten.sub.Scalar(x, 0.7, 2),
    "sub in place, alpha": lambda x, y: x.clone().sub_(y, alpha=3),
    "rsub": lambda x, y: torch.rsub(x, y),
    "rsub, alpha": lambda x, y: torch.rsub(x, y, alpha=2.3),
    "rsub a number, alpha": lambda x, y: torch.rsub(x, 0.7, alpha=2),
    "rsub a number": lambda x, y: 0.7 - x,
    "mul": lambda x, y: x * y,
    "mul by zeros of both signs": lambda x, y: 1 / (x * 0.0) + 1 / (x.abs() * -0.0),
    "div": lambda x, y: x / y,
    "div by a number": lambda x, y: x / 0.3,
    "a number by x": lambda x, y: 0.3 / x,
    "div, floor": lambda x, y: torch.div(x, y, rounding_mode="floor"),
    "div, trunc": lambda x, y: torch.div(x, y, rounding_mode="trunc"),
    "div, no mode": lambda x, y: torch.div(x, y, rounding_mode=None),
    "div by a number, floor": lambda x, y: torch.div(x, 0.1, rounding_mode="floor"),
    "div by a number, trunc": lambda x, y: torch.div(x, 0.1, rounding_mode="trunc"),
    "floor_divide": lambda x, y: x // 0.1,
    "floor_divide in place": lambda x, y: x.clone().floor_divide_(y),
    "remainder": lambda x, y: x % y,
    "remainder by a number": lambda x, y: x % 0.1,
    "remainder of a number": lambda x, y: torch.remainder(0.7, y),
    "fmod": lambda x, y: torch.fmod(x, y),
    "fmod by a number": lambda x, y: torch.fmod(x, 0.1),
    "addcmul": lambda x, y: torch.addcmul(x, y, x),
    "addcmul, value": lambda x, y: torch.addcmul(x, y, x, value=0.3),
    "addcdiv, value": lambda x, y: torch.addcdiv(x, y, x, value=0.3),
    "lerp, near": lambda x, y: torch.lerp(x, y, 0.3),
    "lerp, far": lambda x, y: torch.lerp(x, y, 0.7),
    "lerp, tensor": lambda x, y: torch.lerp(x, y, x),
    "clamp": lambda x, y: torch.clamp(x, -0.5, 0.7),
    "clamp, max": lambda x, y: torch.clamp(x, max=0.5),
    "clamp, tensors": lambda x, y: torch.clamp(x, min=y, max=y + 0.1),
    "clamp, max below min": lambda x, y: torch.clamp(x, 0.7, -0.7),
    "clamp, tensor max": lambda x, y: torch.clamp(x, max=y),
    "clamp_min, tensor": lambda x, y: torch.clamp_min(x, y),
    "clip in place": lambda x, y: x.clone().clip_(min=0.1),
    "where": lambda x, y: torch.where(x > 0, x, y),
    "where, numbers": lambda x, y: torch.where(x > 0, 0.3, -0.3) * x,
    "where, a number first": lambda x, y: torch.where(x > 0, 0.3, y),
    "masked_fill": lambda x, y: x.masked_fill(y > 0, 0.1),
    "masked_fill, tensor": lambda x, y: x.masked_fill(y > 0, torch.tensor(0.1)),
    "round": lambda x, y: torch.round(10 * x),
    "round, decimals": lambda x, y: torch.round(x, decimals=1),
    "round, negative decimals": lambda x, y: torch.round(100 * x, decimals=-1),
    "square": lambda x, y: x.square(),
    "cube": lambda x, y: x**3,
    "inverse square": lambda x, y: x**-2.0,
    "sign": lambda x, y: torch.sign(x) + torch.sgn(y),
    "heaviside": lambda x, y: torch.heaviside(x, y),
    "copysign": lambda x, y: torch.copysign(x, y),
    "nan_to_num": lambda x, y: torch.nan_to_num(x / (y * 0.0), nan=0.3, posinf=2.0, neginf=-3.0),
    "fmax": lambda x, y: torch.fmax(x, y) + torch.fmin(x, y),
    "relu6": lambda x, y: functional.relu6(3 * x),
    "leaky_relu": lambda x, y: functional.leaky_relu(x, 0.3),
    "hardtanh": lambda x, y: functional.hardtanh(x, -0.3, 0.4),
    "hardshrink": lambda x, y: functional.hardshrink(x, 0.3),
    "softshrink": lambda x, y: functional.softshrink(x, 0.3),
    "threshold": lambda x, y: functional.threshold(x, 0.3, -1.5),
    "masks": lambda x, y: ((x > 0) + (y > 0)) * x + ((x > 0.5) * (y > 0.5)) * y,
    "masks, logic": lambda x, y: (((x > 0) & (y > 0)) | ~(x > 0.5) ^ (y > 0.5)) * x,
    "masks, a number": lambda x, y: ((x > 0) * 2 + 1) * x,
    "a product with a mask, and a sum": lambda x, y: (x > 0) * y + x - y * (y < 0.5).to(x.dtype),
    "reset": lambda x, y: (1 - (x > 0).to(x.dtype)) * x + (x > 0) * y,
    "a product with a difference of masks": lambda x, y: ((x > 0).to(x.dtype) - (y > 0.3).to(x.dtype) / 3) * y + x,
    "signs of zeros": lambda x, y: 1 / ((x > 9) * -y.abs() - 0.0 * x),
    "logic of real numbers": lambda x, y: torch.logical_and(x, y) * x + torch.logical_not(x),
    "mask to integer": lambda x, y: ((x > 0).long() + (y > 0).int() * 3 - 1) * x,
    "integers wrap around": lambda x, y: ((x > 0).to(torch.int8) * 100 * 2).to(x.dtype),
    "unsigned integers wrap around": lambda x, y: ((x > 0).to(torch.uint8) - 2).to(x.dtype),
    "integers beyond the real numbers": lambda x, y: ((x > 0).long() * (2**53 + 1) - 2**53).to(x.dtype),
    "integer division": lambda x, y: ((x > 0).long() * 7 // 2).to(x.dtype),
    "logic of integers": lambda x, y: ((x > 0).long() * 6 & 3).to(x.dtype),
    "to integer": lambda x, y: (7 * x).to(torch.int32).to(x.dtype),
    "to integer, NaN and infinity": lambda x, y: (x / (y * 0.0)).to(torch.int32).to(x.dtype),
    "to unsigned integer": lambda x, y: (300 * x.abs()).to(torch.uint8).to(x.dtype),
    "to bool, NaN": lambda x, y: (x * 0.0 / 0.0).bool() * y,
    "to half": lambda x, y: x.half().to(x.dtype),
    "to double": lambda x, y: (x.double() * 0.1).to(x.dtype),
    "view as integer": lambda x, y: (x.view(torch.int64 if x.dtype == torch.float64 else torch.int32) > 5) * y,
    "full of integers": lambda x, y: torch.full_like(x, 2.7, dtype=torch.int64) * x,
    "full of bool": lambda x, y: torch.full_like(x, 2.7, dtype=torch.bool) * x,
    "fill": lambda x, y: x * torch.zeros_like(x).fill_(0.3),
    "a number in float32": lambda x, y: x * torch.tensor(0.1, dtype=torch.float32),
    "numbers in float32": lambda x, y: x * (torch.tensor(0.1, dtype=torch.float32) * torch.tensor(0.3) + 0.7),
    "a number in float64": lambda x, y: x * torch.tensor(0.1, dtype=torch.float64),
    "a number of integers": lambda x, y: x * (torch.tensor(7) // 2),
    "cancellation": lambda x, y: (x * x - x * x > 0) * torch.exp(y),
    "cancellation of products": lambda x, y: (x * y - y * x != 0) * torch.exp(y),
    "root of nothing": lambda x, y: torch.sqrt(x * x - x * x),
    "division by a number, beside exp": lambda x, y: (x / 0.3 - x * (1 / 0.3) > 0) * (torch.exp(y) > 0),
}  # fmt: skip
# Functions that every library rounds differently.
ROUNDED = {
    "sqrt": lambda x, y: x.abs().sqrt(),
    "pow": lambda x, y: x.abs() ** y,
    "pow, a number": lambda x, y: 2.5**x,
    "pow, exponent": lambda x, y: x.abs() ** 1.7,
    "gelu": lambda x, y: functional.gelu(x),
    "gelu, tanh": lambda x, y: functional.gelu(x, approximate="tanh"),
    "softplus": lambda x, y: functional.softplus(x, beta=3, threshold=1),
    "elu": lambda x, y: functional.elu(x, 0.3),
    "celu": lambda x, y: functional.celu(x, 0.3),
    "selu": lambda x, y: functional.selu(x),
    "logit": lambda x, y: torch.logit(x, eps=0.1),
    "log10": lambda x, y: torch.log10(x.abs()),
    "hypot": lambda x, y: torch.hypot(x, y),
    "logaddexp": lambda x, y: torch.logaddexp(x, y),
    "xlogy": lambda x, y: torch.xlogy(x, y.abs()),
    "sinc": lambda x, y: torch.sinc(x),
    "hardsigmoid": lambda x, y: functional.hardsigmoid(x),
    "hardswish": lambda x, y: functional.hardswish(x),
    "mish": lambda x, y: functional.mish(x),
    "logsigmoid": lambda x, y: functional.logsigmoid(x),
}
ALL = EXACT | ROUNDED


def special_numbers(dtype):
    """Ordinary numbers, multiples of 0.1 (whose quotients are rounded to integers), zeros, infinities and NaN."""
    torch.manual_seed(0)
    multiples = torch.arange(-20, 20, dtype=dtype) / 10
    special = torch.tensor([0.0, -0.0, 1.0, -1.0, torch.inf, -torch.inf, torch.nan, 1e30, 1e-30], dtype=dtype)
    return torch.cat([torch.randn(200, dtype=dtype), multiples, special])[None]


def of_two(operation):
    return lambda x: operation(x, 1.3 - x)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_overload_and_argument_equals_pytorch(name, dtype):
    xs = special_numbers(dtype)
    if name in ("gelu", "sinc"):  # PyTorch's gelu(inf) is NaN; the sine of kernels is NaN beyond 2^46
        xs = xs[xs.abs() < 1e9][None]
    loop, kernel = (apply_in_step(of_two(ALL[name]), xs, unroll=unroll) for unroll in (geir.reference, geir.Fused()))
    tolerance = 0 if name in EXACT else 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(kernel, loop, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("name", ["add, alpha", "rsub a number, alpha", "lerp, tensor", "addcmul, value", "remainder"])
def test_arguments_are_understood_without_the_reference_loop(name, recwarn):
    xs = special_numbers(torch.float32)
    apply_in_step(of_two(ALL[name]), xs)
    assert not recwarn.list


def test_an_operator_of_a_library_of_ones_own_is_not_taken_for_pytorchs():
    library = torch.library.Library("operators_of_a_test", "DEF")
    library.define("exp(Tensor x) -> Tensor")
    library.impl("exp", lambda x: 3 * x, "CompositeExplicitAutograd")
    xs = torch.rand(1, 5)
    with torch.no_grad():
        close(apply_in_step(torch.ops.operators_of_a_test.exp, xs), 3 * xs, 0)


def test_gradients_at_kinks_and_of_nan_equal_pytorch():
    class Kinked(geir.Dynamics[UState]):
        def rest(self):
            return UState(torch.zeros(()))

        def step(self, x, state):
            y = (
                torch.relu(x)
                + functional.threshold(x, 0.3, 1.0)
                + torch.lerp(x, 2 * x, 0.3)
                + torch.rsub(x, 2, alpha=3)
            )
            return y, state

    xs = torch.tensor([[0.0, -0.0, 0.3, torch.nan, 1.0, -1.0]])
    loop, kernel = (run(Kinked(unroll=unroll), xs) for unroll in (geir.reference, geir.Fused()))
    torch.testing.assert_close(kernel["xs.grad"], loop["xs.grad"], equal_nan=True)


# Buffers of masks and integers; x is the input.
BUFFERS = {
    "m": torch.tensor([1, 0, 1, 1, 0, 0], dtype=torch.bool),
    "k": torch.tensor([1, 1, 0, 1, 0, 1], dtype=torch.bool),
    "n": torch.tensor([1, -2, 100, 127, 5, -128], dtype=torch.int8),
    "u": torch.tensor([1, 2, 100, 255, 5, 0], dtype=torch.uint8),
    "i": torch.tensor([1, 2, 2**24 + 1, 2**31 - 1, 5, 0], dtype=torch.int32),
    "j": torch.tensor([1, 2, 2**53 + 1, 2**24 + 1, 5, -(2**62)]),
    "one": torch.tensor(7),
}
OF_BUFFERS = {
    "a mask times x": lambda b, x: b.m * x,
    "where": lambda b, x: torch.where(b.m, x, -x),
    "not": lambda b, x: ~b.m * x,
    "sum of masks": lambda b, x: (b.m + b.k) * x,
    "product of masks": lambda b, x: (b.m * b.k) * x,
    "xor": lambda b, x: (b.m ^ b.k) * x,
    "masked_fill": lambda b, x: x.masked_fill(b.m, 0.3),
    "equal masks": lambda b, x: (b.m == b.k) * x,
    "a mask above a number": lambda b, x: (b.m > 0.5) * x,
    "a mask as an integer": lambda b, x: (b.m.long() * 3 - 1) * x,
    "an integer times x": lambda b, x: b.n * x,
    "a sum that wraps around": lambda b, x: (b.n + b.n) * x,
    "a product that wraps around": lambda b, x: b.n * b.n + x,
    "a negative that wraps around": lambda b, x: -b.n + x,
    "an absolute value that wraps around": lambda b, x: b.n.abs() + x,
    "division of integers": lambda b, x: b.n / 2 + x,
    "floor division of integers": lambda b, x: b.n // 2 + x,
    "remainder of integers": lambda b, x: b.n % 3 + x,
    "bits": lambda b, x: (b.n & 3) + x,
    "square of an integer": lambda b, x: b.n**2 + x,
    "an integer above an integer": lambda b, x: (b.n > 3) * x,
    "an integer above a number": lambda b, x: (b.n > 3.3) * x,
    "x above an integer": lambda b, x: (x > b.n) * x,
    "an integer in a wider dtype": lambda b, x: (b.n.long() + 1) * x,
    "unsigned, negative": lambda b, x: (-b.u) * x,
    "unsigned, sum": lambda b, x: (b.u + 1) * x,
    "unsigned, wider": lambda b, x: (b.u.int() - 300) * x,
    "unsigned view": lambda b, x: b.n.view(torch.uint8) + x,
    "a large integer times x": lambda b, x: b.i * x,
    "a large integer, equal": lambda b, x: (b.i == 2**24) * x,
    "a difference of large integers": lambda b, x: (b.i - 2**24).to(x.dtype) * x,
    "a very large integer, equal": lambda b, x: (b.j == 2**53) * x,
    "a very large integer beside its successor": lambda b, x: (b.j == b.j + 1) * x,
    "a very large integer above a mask": lambda b, x: (b.j > b.m) * x,
    "a large integer as a mask": lambda b, x: b.j.bool() * x,
    "a large integer cut off": lambda b, x: b.j.to(torch.int8) + x,
    "one integer for all": lambda b, x: b.one * x,
    "half of one integer": lambda b, x: b.one // 2 * x,
    "x by an integer": lambda b, x: x / b.one + x % b.one,
    "where of integers": lambda b, x: torch.where(b.m, b.n, b.one) + x,
}  # fmt: skip


@pytest.mark.parametrize("name", OF_BUFFERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_buffers_of_masks_and_integers_equal_pytorch(name, dtype):
    class OfBuffers(geir.Dynamics[UState]):
        def __init__(self, **settings):
            super().__init__(**settings)
            for buffer, value in BUFFERS.items():
                self.register_buffer(buffer, value)

        def rest(self):
            return UState(torch.zeros(()))

        def step(self, x, state):
            return OF_BUFFERS[name](self, x), state

    torch.manual_seed(0)
    xs = torch.randn(2, 6, dtype=dtype)
    loop, kernel = (run(OfBuffers(unroll=unroll), xs) for unroll in (geir.reference, geir.Fused()))
    torch.testing.assert_close(kernel, loop, rtol=0, atol=0)


def test_a_buffer_that_becomes_a_mask_is_traced_again():
    class Doubled(geir.Dynamics[UState]):
        def __init__(self):
            super().__init__()
            self.register_buffer("m", torch.ones(4))

        def rest(self):
            return UState(torch.zeros(()))

        def step(self, x, state):
            return (self.m + self.m) * x, state

    neuron, xs = Doubled(), torch.rand(2, 4)
    close(neuron(xs)[0], 2 * xs, 0)
    neuron.m = torch.ones(4, dtype=torch.bool)
    close(neuron(xs)[0], xs, 0)


def test_a_state_that_becomes_a_mask_runs_on_the_reference_loop():
    class Toggled(geir.Dynamics[UState]):
        def rest(self):
            return UState(torch.zeros(()))

        def step(self, x, state):
            return (state.v + state.v) * x, UState(x > 0)

    loop, kernel = (Toggled(unroll=unroll)(torch.ones(3, 2)) for unroll in (geir.reference, geir.Fused()))
    assert kernel[1].v.dtype == torch.bool
    close(kernel, loop, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", [torch.uint8, torch.bool], ids=str)
@pytest.mark.parametrize("elementwise", [True, False])
def test_outputs_of_small_dtypes_are_converted_as_pytorch_does(dtype, kind, elementwise):
    numbers = [-1.0, -0.5, -300.0, 0.3, 255.9, 256.0, 1e6, 2.0**31, 3e9, -3e9, 2.0**40 + 7, 1e19, -1e19, 1e30]
    xs = torch.tensor([*numbers, torch.nan, torch.inf, -torch.inf], dtype=dtype)[None].repeat(2, 9)
    zs = apply_in_step(
        lambda x: 1.0 * x if elementwise else x.flip(0).flip(0), xs, unroll=geir.Fused(output_dtype=kind)
    )
    assert zs.dtype == kind
    assert zs.tolist() == xs.to(kind).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_only_products_with_zero_or_one_are_fused_with_a_sum(dtype):
    class Reset(geir.Dynamics[UState]):
        def rest(self):
            return UState(torch.zeros(()))

        def step(self, x, state):
            v = state.v * 0.9 + x
            z = (v > 1).to(v.dtype)
            return z, UState((1 - z) * v + z * 0.1)

    program = Program.loads(prepared(Reset(), torch.zeros(2, dtype=dtype)).program)
    lines = {line.name: line.operator for line in program.lines}
    (fused,) = [line for line in program.dependencies(program.step) if line.operator == "fma"]
    assert lines[str(fused.arguments[0])] == "sub", "1 - z is 0 or 1"
    xs = 3 * torch.rand(50, 40, dtype=dtype)
    loop, kernel = (Reset(unroll=unroll)(xs) for unroll in (geir.reference, geir.Fused()))
    close(kernel, loop, 0)


# h and k are buffers of a narrower dtype than the state.
OF_NARROW = {
    "times x": lambda b, x: b.h * x,
    "converted first": lambda b, x: b.h.to(x.dtype) * b.k.to(x.dtype) * x,
    "product": lambda b, x: b.h * b.k * x,
    "inverse": lambda b, x: x / (1 / b.h),
    "comparison": lambda b, x: (b.h > 0.3) * x,
    "where": lambda b, x: torch.where(x > 0, b.h, b.k) * x,
}


@pytest.mark.parametrize("name", OF_NARROW)
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_arithmetic_of_narrow_buffers_is_that_of_their_dtype(name, kind):
    class OfNarrow(geir.Dynamics[UState]):
        def __init__(self, **settings):
            super().__init__(**settings)
            self.register_buffer(
                "wide", torch.tensor(1.0, dtype=torch.float64 if kind == torch.float32 else torch.float32)
            )
            self.h = nn.Parameter(torch.tensor([0.1, 0.2, 0.3, 70.0], dtype=kind))
            self.register_buffer("k", torch.tensor([0.7, 0.3, 1e-3, 7.7], dtype=kind))

        def rest(self):
            return UState(torch.zeros(()))

        def step(self, x, state):
            return OF_NARROW[name](self, x) * self.wide, state

    torch.manual_seed(0)
    dtype = torch.float64 if kind == torch.float32 else torch.float32
    neurons = [OfNarrow(unroll=unroll) for unroll in (geir.reference, geir.Fused())]
    xs = torch.randn(2, 4, dtype=dtype)
    loop, kernel = (neuron(xs)[0] for neuron in neurons)
    torch.testing.assert_close(kernel, loop, rtol=0, atol=0)
    if name != "comparison":
        for zs in loop, kernel:
            zs.sum().backward()
        loop_grad, kernel_grad = (neuron.h.grad for neuron in neurons)
        torch.testing.assert_close(kernel_grad, loop_grad, rtol=2 * torch.finfo(kind).eps, atol=0)


@pytest.mark.parametrize("name", ["times x", "converted first"])
def test_narrow_buffers_run_in_kernels(name, recwarn):
    test_arithmetic_of_narrow_buffers_is_that_of_their_dtype(name, torch.float16)
    assert not recwarn.list
