"""Operators printed as Triton equal PyTorch's in Triton's interpreter."""

import numpy as np
import pytest
import torch
from runtime_helpers import apply_in_step, applying, every_operation, prepared, UState

import geir
from geir._runtime.kernels import triton_source
from geir._runtime.kernels.program import Program
from geir.testing import close, run

pytest.importorskip("triton", reason="Triton is not installed")


def skip_without_interpreter(neuron, dtype):
    program = Program.loads(prepared(neuron, torch.zeros((), dtype=dtype)).program)
    if "libdevice." in triton_source.source(program, [], [], dtype, dtype):
        pytest.skip("the interpreter does not have libdevice")


@every_operation
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.usefixtures("interpreted")
def test_every_operator_equals_pytorch(operation, dtype):
    skip_without_interpreter(applying(operation)(), dtype)
    xs = torch.rand(4, 40, dtype=dtype) + 0.01
    expected, actual = (run(applying(operation)(unroll=unroll), xs) for unroll in (geir.reference, geir.Fused()))
    close(actual, expected, 1e-12 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize(
    "operation",
    [torch.exp, torch.expm1, torch.tanh, torch.sigmoid, torch.log, torch.log1p, torch.sqrt, torch.rsqrt, torch.reciprocal, torch.round, torch.trunc,
     torch.floor, torch.relu, torch.sign, torch.abs, lambda x: torch.clamp(x, -1, 1), lambda x: torch.maximum(x, -x), lambda x: torch.minimum(1 / x, x)],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.usefixtures("interpreted")
def test_functions_of_extreme_numbers_equal_pytorch(operation, dtype):
    numbers = [
        0,
        1e-45,
        1e-40,
        1e-30,
        1e-7,
        1e-3,
        0.34,
        0.35,
        0.5,
        1,
        1.5,
        2.5,
        20,
        87,
        88.5,
        88.72,
        89,
        100,
        103,
        104,
        300,
        709,
        710,
        745,
        750,
    ]
    numbers += [
        2.0**22 + 0.5,
        2.0**23 - 0.5,
        2.0**23 + 1,
        1e10,
        2.0**51 + 0.5,
        2.0**52 + 1,
        1e30,
        3e38,
        float("inf"),
        float("nan"),
    ]
    xs = torch.tensor([sign * number for number in numbers for sign in (1, -1)], dtype=dtype)[None]
    expected, actual = (apply_in_step(operation, xs, unroll=unroll) for unroll in (geir.reference, geir.Fused()))
    torch.testing.assert_close(
        actual, expected, rtol=1e-14 if dtype == torch.float64 else 5e-7, atol=1e-45, equal_nan=True
    )


def random_bits(size, dtype):
    integers = torch.int32 if dtype == torch.float32 else torch.int64
    limits = torch.iinfo(integers)
    return torch.randint(limits.min, limits.max, (size,), dtype=integers).view(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.usefixtures("interpreted")
def test_remainders_of_any_numbers_are_exact(dtype):
    torch.manual_seed(0)
    limits = torch.finfo(dtype)
    special = [0.0, 1.0, 3.0, 0.1, torch.inf, torch.nan, limits.max, limits.tiny, limits.smallest_normal / 3]
    special = torch.tensor([*special, *(-number for number in special)], dtype=dtype)
    pairs = torch.cartesian_prod(special, special)
    subnormal = limits.tiny * torch.randn(100, dtype=dtype)
    x = torch.cat([random_bits(1000, dtype), random_bits(100, dtype), torch.randn(300, dtype=dtype), pairs[:, 0]])
    y = torch.cat([random_bits(1000, dtype), subnormal, torch.randn(300, dtype=dtype), pairs[:, 1]])

    class Remainder(geir.Dynamics[UState]):
        def __init__(self):
            super().__init__()
            self.register_buffer("y", y)
            self.register_buffer("shared", torch.tensor(7.3, dtype=dtype))

        def rest(self):
            return UState(torch.zeros(()))

        def step(self, x, state):
            return torch.fmod(x, self.y), UState(torch.fmod(self.shared, 0.7) * torch.ones_like(x))

    actual, state = Remainder()(x[None])
    expected = torch.from_numpy(np.fmod(x.numpy(), y.numpy()))
    torch.testing.assert_close(actual[0], expected, rtol=0, atol=0, equal_nan=True)
    assert (actual[0].signbit() == expected.signbit())[~expected.isnan()].all()
    close(
        state.v, torch.full_like(x, float(np.fmod(np.array(7.3, dtype=x.numpy().dtype), x.numpy().dtype.type(0.7)))), 0
    )
