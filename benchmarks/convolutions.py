"""Training steps of networks whose convolutions run over time: their results are larger than any cache."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn, Tensor

import geir
from geir.tasks import nmnist

from .contestants import select_installed
from .timing import Job

STEPS, BATCH = 50, 128
NMNIST_STEPS, NMNIST_BATCH, NMNIST_RATE = 20, 32, 0.04
BETA, SLOPE = 0.5, 25


def tutorial_layers(neuron: Callable[[], nn.Module]) -> Iterable[nn.Module]:
    """The network of snnTorch's tutorial 6."""
    torch.manual_seed(0)
    return (
        nn.Conv2d(1, 12, 5),
        nn.MaxPool2d(2),
        neuron(),
        nn.Conv2d(12, 64, 5),
        nn.MaxPool2d(2),
        neuron(),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 10),
        neuron(),
    )


def geir_tutorial() -> nn.Module:
    """The network in geir: layers over time."""
    surrogate = geir.surrogates.SuperSpike(SLOPE)
    return geir.SequentialState(*tutorial_layers(lambda: geir.Leaky(beta=BETA, surrogate=surrogate)), lift=True)


class SnnTorchTutorial(nn.Module):
    """The network as in the tutorial: one step in a loop."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch
        from snntorch import surrogate

        def neuron() -> nn.Module:
            return snntorch.Leaky(beta=BETA, spike_grad=surrogate.fast_sigmoid(slope=SLOPE), init_hidden=True)

        self.layers: Any = nn.Sequential(*tutorial_layers(neuron))

    def forward(self, xs: Tensor) -> Tensor:
        for layer in self.layers:
            if hasattr(layer, "reset_mem"):
                layer.reset_mem()
        return torch.stack([self.layers(x) for x in xs.unbind(0)])


def training_step(build: Callable[[], nn.Module], xs: Tensor) -> Job:
    """A function that runs a new network forward and backward."""
    model = build()

    def train() -> None:
        model.zero_grad()
        ys = model(xs)
        (ys[0] if isinstance(ys, tuple) else ys).sum().backward()

    return train


def training_steps() -> dict[str, Job]:
    """The training steps of all installed contestants, by name."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(STEPS, BATCH, 1, 28, 28, generator=generator)
    frames = torch.rand(NMNIST_STEPS, NMNIST_BATCH, 2, 34, 34, generator=generator) < NMNIST_RATE
    inputs = {"the same images at every step": images[:1].expand_as(images), "other images at every step": images}
    jobs = {
        f"{name}, {kind}": training_step(build, xs)
        for kind, xs in inputs.items()
        for name, build in select_installed({"geir": geir_tutorial, "snnTorch": SnnTorchTutorial}).items()
    }
    return jobs | {"geir, network of `geir.tasks.nmnist`": training_step(nmnist.network, frames.float())}
