"""Public functions and modules are right for input of integers and float64, or refuse it."""

import pytest
import torch
from function_table import flatten, FUNCTIONS, MODULES

from geir import encode, surrogates


def refuses_or_agrees(call, expected, refusals):
    try:
        actual = call()
    except refusals:
        return
    for one, other in zip(flatten(actual), flatten(expected()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, check_dtype=False, equal_nan=True)


DISCRETE = [torch.bool, torch.uint8, torch.int64]


def without_gradient(function):
    run, inputs, _ = FUNCTIONS[function]
    if isinstance(function, type) and issubclass(function, surrogates.Surrogate):
        made = {surrogates.Custom: lambda: function(torch.abs)}.get(function, function)()
        return made, inputs
    return run, inputs


@pytest.mark.parametrize("dtype", DISCRETE, ids=str)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_function_of_integers_is_right_or_refuses(function, dtype):
    run, inputs = without_gradient(function)
    discrete = [x.to(dtype) if x.is_floating_point() else x for x in inputs()]
    wide = [x.float() if y.is_floating_point() else x for x, y in zip(discrete, inputs(), strict=True)]
    refuses_or_agrees(lambda: run(*discrete), lambda: run(*wide), (TypeError, ValueError))


@pytest.mark.parametrize("dtype", [*DISCRETE, torch.float64], ids=str)
@pytest.mark.parametrize("kind", MODULES, ids=lambda kind: kind.__name__)
def test_a_module_is_right_for_integers_and_float64_or_refuses(kind, dtype):
    make, inputs, _ = MODULES[kind]
    module, given = make(), [x.to(dtype) for x in inputs()]
    # PyTorch's own products refuse other dtypes with a RuntimeError.
    refusals = (TypeError, ValueError, RuntimeError)
    with torch.no_grad():
        refuses_or_agrees(lambda: module(*given), lambda: module(*(x.float() for x in given)), refusals)


# float64 draws other random numbers.
RANDOM = {encode.poisson, encode.poisson_step, encode.signed_poisson, encode.signed_poisson_step}


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f not in RANDOM], ids=lambda function: function.__name__)
def test_a_function_of_float64_agrees_with_float32(function):
    run, inputs, _ = FUNCTIONS[function]
    wide = [x.double() if x.is_floating_point() else x for x in inputs()]
    actual, expected = flatten(run(*wide)), flatten(run(*inputs()))
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, check_dtype=False, equal_nan=True)
