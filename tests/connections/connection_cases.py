"""Helpers shared by the tests of connections."""

import torch

DOUBLE = torch.float64


def assert_close(actual, expected, tolerance=1e-9):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def sparse_input(*shape, density=0.1):
    """Random numbers at a fraction `density` of all places, zero elsewhere; float64."""
    return (torch.rand(shape) < density) * torch.rand(shape, dtype=DOUBLE)


def output_and_gradients(module, x):
    """The output, and the gradients of a weighted sum of it with respect to input and parameters."""
    x = x.clone().requires_grad_()
    module.zero_grad()
    y = module(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return y, x.grad, {name: p.grad for name, p in module.named_parameters()}
