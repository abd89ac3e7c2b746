"""Networks with weights that make neurons spike, and the comparison of a network with its conversion."""

import torch
from torch import nn

STEPS = 100
TOLERANCE = 1e-5


def spiking_input(features=20, batch=3, rate=0.3):
    """Random spikes, shape (time, batch, features)."""
    return (torch.rand(STEPS, batch, features, generator=torch.Generator().manual_seed(0)) < rate).float()


def draw_weights(network, scale):
    """Weights as after training, in place: neither small nor balanced."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("weight"):
                parameter.copy_(scale * (0.3 + torch.randn(parameter.shape, generator=generator)))
            elif name.endswith("bias"):
                parameter.copy_(0.05 * scale * torch.randn(parameter.shape, generator=generator))
    return network


def dense(make_neuron, scale):
    """Two dense layers, each with a neuron."""
    return draw_weights(nn.Sequential(nn.Linear(20, 30), make_neuron(), nn.Linear(30, 10), make_neuron()), scale)


def compare(expected, converted, xs, readout=False):
    """Check that a converted network returns what the other library did."""
    result = converted(xs)
    actual = result[0] if isinstance(result, tuple) else result
    assert expected.abs().sum() > 20, "the input is too weak for this test to see a spike"
    assert readout or (expected == 0).float().mean() > 0.05, "all neurons spike in every step"
    torch.testing.assert_close(actual, expected, rtol=TOLERANCE, atol=TOLERANCE)


def compare_gradients(run_other, other, converted, xs):
    """Check that a loss has the same gradients with respect to the weights of both networks."""
    weights = torch.linspace(-1, 1, 10)
    (run_other(other, xs) * weights).sum().backward()
    (converted(xs)[0] * weights).sum().backward()
    theirs = {name: p.grad for name, p in other.named_parameters() if name.endswith("weight")}
    ours = {name: p.grad for name, p in converted.named_parameters() if name.endswith("weight")}
    assert theirs.keys() == ours.keys() != set()
    for name, gradient in theirs.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-4 * gradient.abs().max().item())
