"""A training step of the convolutional network of `geir.tasks.mnist`, with everybody's neurons."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import geir
from geir.decode import max_potential_loss
from geir.tasks import mnist

from .contestants import Makers, made
from .peers import ALPHA, BETA, Output, Sinabs, SpikingJelly, sinabs_settings, snntorch_settings, spikingjelly_node
from .report import table
from .timing import Bench, Job

STEPS, BATCH = mnist.DEFAULTS.steps, mnist.DEFAULTS.batch_size

# Standard deviation of a convolution's weights, times the root of what comes in.
GAIN = 1.5


def stack(
    neuron: Callable[[], nn.Module], readout: nn.Module, lift: Callable[[nn.Module], nn.Module] = lambda module: module
) -> list[nn.Module]:
    """The layers of the network with one's neurons; `lift` makes a layer without state one over time."""
    torch.manual_seed(0)
    layers = mnist.network()
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):  # as they start, hardly a neuron of the second layer fires
            nn.init.normal_(layer.weight, std=GAIN * layer.weight[0].numel() ** -0.5)
    found: list[nn.Module] = []
    for layer in layers.children():
        if isinstance(layer, geir.LIF):
            found.append(neuron())
        elif isinstance(layer, geir.LI):
            found.append(readout)
        else:
            found.append(lift(next(layer.children())))
    return found


def of_geir(neuron: Callable[[], nn.Module], readout: nn.Module) -> nn.Module:
    """As in the task: layers without state on all steps at once."""
    return Output(geir.SequentialState(*stack(neuron, readout, geir.Lift)))


def norse() -> nn.Module:
    """Its documentation's way: its own containers, which lift by a loop over time."""
    import norse.torch

    return Output(norse.torch.SequentialState(*stack(norse.torch.LIF, norse.torch.LI(), norse.torch.Lift)))


class SnnTorchNetwork(nn.Module):
    """Its documentation's way: a loop over time around the whole network."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch

        readout = snntorch.Synaptic(alpha=ALPHA, beta=BETA, reset_mechanism="none")
        self.layers = nn.ModuleList(stack(lambda: snntorch.Synaptic(**snntorch_settings()), readout))

    def forward(self, xs: Tensor) -> Tensor:
        stateful: list[Any] = [layer for layer in self.layers if hasattr(layer, "reset_mem")]
        for layer in stateful:
            layer.reset_mem()
        potentials = []
        for x in xs.unbind(0):
            for layer in self.layers[:-1]:
                x = layer(x)[0] if layer in stateful else layer(x)
            potentials.append(self.layers[-1](x)[-1])
        return torch.stack(potentials)


def spikingjelly() -> nn.Module:
    """Its documentation's way: multi-step modules, layers without state on all steps at once."""
    from spikingjelly.activation_based import layer, neuron

    # A neuron that never spikes is its leaky integrator that gives potentials over time.
    readout = neuron.NonSpikingLIFNode(tau=10.0)
    return SpikingJelly(*stack(spikingjelly_node, Stacked(readout), layer.SeqToANNContainer))


class Stacked(nn.Module):
    """From a list over time to a tensor."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, xs: Tensor) -> Tensor:
        return torch.stack(self.module(xs))


class Folded(nn.Module):
    """Batch and time as one for layers without state, which is what the squeezing layers of sinabs do to the others."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, xs: Tensor) -> Tensor:
        return self.module(xs.flatten(0, 1)).unflatten(0, xs.shape[:2])


def sinabs() -> nn.Module:
    """Layers without state on all steps at once."""
    from sinabs.layers import LIF, ExpLeak

    return Sinabs(*stack(lambda: LIF(**sinabs_settings()), ExpLeak(tau_mem=10.0), Folded))


RELU = "ReLU in place of the neurons"
NETWORKS: Makers = {
    "geir": lambda: of_geir(geir.LIF, geir.LI()),
    "geir, reference loop": lambda: of_geir(lambda: geir.LIF(unroll=geir.reference), geir.LI(unroll=geir.reference)),
    "SpikingJelly": spikingjelly,
    "snnTorch": SnnTorchNetwork,
    "Norse": norse,
    "sinabs": sinabs,
}


def training_step(model: nn.Module, xs: Tensor, labels: Tensor) -> Job:
    """Forward, backward and optimizer, which takes steps too small to change how many neurons fire."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-7)

    def step() -> None:
        optimizer.zero_grad()
        max_potential_loss(model(xs), labels).backward()
        optimizer.step()

    return step


def spikes(model: nn.Module, xs: Tensor) -> list[float]:
    """The share of neurons that fire in a step, in both spiking layers."""
    seen: dict[nn.Module, list[Tensor]] = {}

    def watch(module: nn.Module, _: Any, output: Any) -> None:
        seen.setdefault(module, []).append((output[0] if isinstance(output, tuple) else output).mean())

    # Their names in the libraries; snnTorch's readout, a Synaptic too, comes last.
    neurons = [m for m in model.modules() if type(m).__name__ in ("LIF", "LIFNode", "Synaptic")][:2]
    handles = [m.register_forward_hook(watch) for m in neurons]
    with torch.no_grad():
        model(xs)
    for handle in handles:
        handle.remove()
    return [torch.stack(means).mean().item() for means in seen.values()]


def section(bench: Bench) -> str:
    """A training step of a convolutional network"""
    torch.manual_seed(0)
    # As bright as MNIST's pixels, and standardised like them.
    pixels = torch.rand(BATCH, 1, 28, 28, device=bench.device) * (
        torch.rand(BATCH, 1, 28, 28, device=bench.device) < 0.26
    )
    xs = ((pixels - mnist.MEAN) / mnist.DEVIATION).expand(STEPS, BATCH, 1, 28, 28)
    labels = torch.randint(10, (BATCH,), device=bench.device)
    # ReLU does not iterate over time, which is what it is there to show.
    models = {RELU: of_geir(nn.ReLU, nn.Identity()).to(bench.device)} | made(
        NETWORKS, (STEPS, 2, 1, 28, 28), bench.device
    )
    fired = {name: spikes(model, xs) for name, model in models.items()}
    times = bench.medians({name: training_step(model, xs, labels) for name, model in models.items()})
    rows: list[list[Any]] = [
        [n, ms, ms / times[RELU], ms / times["geir"], " / ".join(f"{s:.3f}" for s in fired[n]) or "–"]
        for n, ms in times.items()
    ]
    rows.sort(key=lambda row: row[1])
    return (
        f"The network of `geir.tasks.mnist` (convolutions to 20 and 50 channels, a leaky readout), T={STEPS}, B={BATCH}, 28 × 28: forward, backward, "
        "Adam. Each is built as its documentation does: geir, SpikingJelly and sinabs convolve all steps at once, snnTorch and Norse step by step. "
        "The network with ReLU has no readout either. All have the same weights, such that both layers spike. "
        "*Spikes*: of the first / the second layer.\n\n" + table(["", "ms", "times ReLU", "times geir", "spikes"], rows)
    )
