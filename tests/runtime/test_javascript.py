"""Operators of programs in JavaScript, against PyTorch's in float64."""

import itertools
import json
import math
import re

import chromium
import numpy as np
import pytest
import torch

from geir._runtime.kernels.javascript import mathematics
from geir._runtime.kernels.operators import LOGIC, OPERATORS

NUMBERS = [0.0, 0.3, 1.0, 1.7, 2.5, 3.5, 26.0, 300.0, 1e-9, 1e300, math.inf]
NUMBERS = [*NUMBERS, *(-number for number in NUMBERS), math.nan]
MASKS = [True, False]


def fmod(x, y):
    """C's: PyTorch's vectorized function is NaN where the quotient is huge."""
    return torch.from_numpy(np.fmod(x.numpy(), y.numpy()))


PYTORCH = {
    "gt": torch.gt, "ge": torch.ge, "lt": torch.lt, "le": torch.le, "eq": torch.eq, "ne": torch.ne, "isnan": torch.isnan,
    "and": torch.logical_and, "or": torch.logical_or, "xor": torch.logical_xor, "not": torch.logical_not,
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "fmod": fmod, "neg": torch.neg,
    "fma": lambda a, b, c: a * b + c, "fms": lambda a, b, c: a * b - c, "fnma": lambda a, b, c: c - a * b,
    "reciprocal": torch.reciprocal, "abs": torch.abs, "sign": torch.sign, "relu": torch.relu,
    "maximum": torch.maximum, "minimum": torch.minimum, "where": torch.where, "real": lambda m: m.double(),
    "exp": torch.exp, "exp2": torch.exp2, "expm1": torch.expm1, "log": torch.log, "log2": torch.log2,
    "log1p": torch.log1p, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt, "pow": torch.pow, "tanh": torch.tanh,
    "sigmoid": torch.sigmoid, "erf": torch.erf, "erfc": torch.erfc, "sin": torch.sin, "cos": torch.cos,
    "atan": torch.atan, "floor": torch.floor, "ceil": torch.ceil, "round": torch.round, "trunc": torch.trunc,
    "tanh_backward": torch.ops.aten.tanh_backward, "sigmoid_backward": torch.ops.aten.sigmoid_backward,
    "threshold_backward": lambda a, b, c: torch.where(b <= c, 0.0, a),
}  # fmt: skip
MASKED = {"and": "mm", "or": "mm", "xor": "mm", "not": "m", "where": "m..", "real": "m"}


@pytest.fixture(scope="module")
def browser():
    if chromium.find() is None:
        pytest.skip("needs Chromium or Chrome")
    with chromium.Page("about:blank") as page:
        page.evaluate(f"window.script = {json.dumps(mathematics())}")
        yield page


def test_every_operator_has_a_row_here():
    assert PYTORCH.keys() == OPERATORS.keys()


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_in_javascript_agree_with_pytorch(name, browser):
    arity = len(set(re.findall(r"{\d}", OPERATORS[name][0])))
    kinds = MASKED.get(name, "." * arity)
    numbers = NUMBERS if arity < 3 else NUMBERS[::3]
    cases = list(itertools.product(*(MASKS if kind == "m" else numbers for kind in kinds)))
    columns = [torch.tensor(column) if kind == "m" else torch.tensor(column, dtype=torch.float64)
               for kind, column in zip(kinds, zip(*cases, strict=True), strict=True)]  # fmt: skip
    text = OPERATORS[name][2].format(*"abc")
    javascript = str(cases).replace("(", "[").replace(")", "]").replace("True", "true").replace("False", "false")
    javascript = javascript.replace("inf", "Infinity").replace("nan", "NaN")
    found = browser.evaluate(f"eval(script + `{javascript}.map(([a, b, c]) => {text}).map(String)`)")
    with np.errstate(invalid="ignore"):
        expected = PYTORCH[name](*columns)
    if name in LOGIC:
        assert found == [str(value).lower() for value in expected.tolist()]
        return
    actual = torch.tensor([float(number.replace("Infinity", "inf")) for number in found], dtype=torch.float64)
    # V8 rounds as C does, but for functions such as `exp`.
    torch.testing.assert_close(actual, expected.double(), rtol=2e-14, atol=1e-300, equal_nan=True)
