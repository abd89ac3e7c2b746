"""Shared by the tests of models."""

import torch

import geir

# Settings that keep the classifier of a VGG small.
SMALL_VGG = {"num_classes": 10, "hidden_size": 64, "grid": 1}


def images(steps, size=32, batch=2):
    """Normalized random images, shown as constant currents."""
    x = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    return x.expand(steps, *x.shape)


def random_spikes(*shape):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def run_with_rates(model, xs):
    """The output, and the mean number of spikes per step and neuron of every layer of neurons."""
    rates = []
    hooks = [
        module.register_forward_hook(lambda module, args, result: rates.append(result[0].mean().item()))
        for module in model.modules()
        if isinstance(module, geir.Dynamics) and module.spiking
    ]
    ys, _ = model(xs)
    for hook in hooks:
        hook.remove()
    return ys, rates
