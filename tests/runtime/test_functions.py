"""The mathematics of the C kernels: exactness, extreme numbers, vectorization."""

import math
import re
import subprocess

import numpy as np
import pytest
import torch
from runtime_helpers import apply_in_step, UState

import geir
from geir._runtime import compiler
from geir._runtime.kernels import source_of

pytestmark = pytest.mark.skipif(compiler.find_compiler() is None, reason="there is no C compiler")


# Functions that kernels implement, because calls of those of C's library are not vectorized.
FUNCTIONS = [torch.exp, torch.exp2, torch.expm1, torch.tanh, torch.log, torch.log2, torch.log1p, torch.sin, torch.cos]


@pytest.mark.parametrize("operation", [*FUNCTIONS, torch.sigmoid, torch.relu, lambda x: torch.clamp(x, -1, 1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_functions_of_extreme_numbers_equal_pytorch(operation, dtype):
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
    ]
    numbers += [300, -300, 709, 710, -708, -740, -750, float("inf"), -float("inf"), float("nan")]
    xs = torch.tensor(numbers, dtype=dtype)[None]
    expected, actual = (apply_in_step(operation, xs, unroll=unroll) for unroll in (geir.reference, geir.Fused()))
    flushed = expected.masked_fill(is_subnormal(expected), 0.0)  # kernels may do so
    actual = actual.masked_fill(is_subnormal(actual), 0.0)
    torch.testing.assert_close(actual, flushed, rtol=1e-14 if dtype == torch.float64 else 5e-7, atol=0, equal_nan=True)


def is_subnormal(x):
    return (x != 0) & (x.abs() < torch.finfo(x.dtype).tiny)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("dtype", "wide"), [(torch.float32, np.float64), (torch.float64, np.longdouble)], ids=["float32", "float64"]
)
@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="there is nothing more exact than float64")
def test_functions_are_exact_within_three_units_in_the_last_place(function, dtype, wide):
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
    actual = apply_in_step(function, xs[None])[0].numpy()
    with np.errstate(all="ignore"):
        exact = getattr(np, function.__name__)(xs.numpy().astype(wide))
        expected = exact.astype(actual.dtype)
        error = np.abs(actual - exact) / np.spacing(np.abs(expected))
    ordinary = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~ordinary], expected[~ordinary])
    flushed = (actual == 0) & is_subnormal(torch.from_numpy(expected)).numpy()
    assert error[ordinary & ~flushed].max() < 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_functions_are_exact_at_simple_points(dtype):
    powers = torch.arange(-100.0, 100.0, dtype=dtype)
    zero, one = torch.zeros(1, dtype=dtype), torch.ones(1, dtype=dtype)
    for function, xs, expected in [
        (torch.exp2, powers, 2**powers), (torch.log2, 2**powers, powers), (torch.exp, zero, one), (torch.log, one, zero), (torch.cos, zero, one),
    ]:  # fmt: skip
        assert torch.equal(apply_in_step(function, xs[None])[0], expected), function.__name__
    for function in (torch.sin, torch.log1p):
        assert 1 / apply_in_step(function, -zero[None])[0] == -torch.inf, f"{function.__name__} loses the sign of zero"


def test_sine_and_cosine_are_nan_beyond_their_range():
    xs = torch.tensor([[2.0**46, -(2.0**46), 1.001 * 2.0**46, 1e30]])
    for function in (torch.sin, torch.cos):
        assert apply_in_step(function, xs).isnan().tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_loop_is_vectorized(dtype, tmp_path):
    if (
        "Free Software"
        not in subprocess.run(
            [*compiler.find_compiler(), "--version"], capture_output=True, text=True, check=True
        ).stdout
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
        *compiler.find_compiler(),
        *compiler.FLAGS,
        "-fopt-info-vec-optimized",
        f"-I{compiler.HEADER.parent}",
        "kernel.c",
        "-o",
        "kernel.so",
        "-lm",
    ]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    vectors = set(map(int, re.findall(r"kernel\.c:(\d+):\d+: optimized: loop vectorized", said)))
    loops = {
        number for number, line in enumerate(source.splitlines(), 1) if line.lstrip().startswith("EACH_LANE_OF_STRIP")
    }
    assert len(loops) == 3
    assert loops <= vectors
