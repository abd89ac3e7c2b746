"""A training step of the convolutional network of `geir.tasks.mnist`, with the neurons of each library."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn, Tensor

import geir
from geir.decode import max_potential_loss
from geir.tasks import mnist

from .contestants import build_installed, Builders
from .peers import ALPHA, BETA, OutputOnly, Sinabs, sinabs_settings, snntorch_settings, SpikingJelly, spikingjelly_node
from .report import format_table
from .timing import Bench, Job

STEPS, BATCH = mnist.DEFAULTS.steps, mnist.DEFAULTS.batch_size

# Standard deviation of a convolution's weights, times the square root of its fan-in.
GAIN = 1.5

# Share of the pixels of MNIST that are not black.
BRIGHT_SHARE = 0.26

# Class names of the spiking layers in all libraries.
SPIKING_LAYERS = ("LIF", "LIFNode", "Synaptic")


def build_layers(
    neuron: Callable[[], nn.Module], readout: nn.Module, lift: Callable[[nn.Module], nn.Module] = lambda module: module
) -> list[nn.Module]:
    """Build the layers of the network.

    Args:
        neuron: Builds a spiking layer.
        readout: The last layer.
        lift: Wraps a layer without state so that it runs over time.
    """
    torch.manual_seed(0)
    network = mnist.network()
    for layer in network.modules():
        # With PyTorch's initialization, hardly any neuron of the second layer spikes.
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=GAIN * layer.weight[0].numel() ** -0.5)
    layers: list[nn.Module] = []
    for layer in network.children():
        if isinstance(layer, geir.LIF):
            layers.append(neuron())
        elif isinstance(layer, geir.LI):
            layers.append(readout)
        else:
            layers.append(lift(next(layer.children())))
    return layers


def geir_network(neuron: Callable[[], nn.Module], readout: nn.Module) -> nn.Module:
    """The network of the task: layers without state run on all steps at once."""
    return OutputOnly(geir.SequentialState(*build_layers(neuron, readout, geir.Lift)))


def norse_network() -> nn.Module:
    """As in Norse's documentation: its containers, which lift layers by a loop over time."""
    import norse.torch

    return OutputOnly(norse.torch.SequentialState(*build_layers(norse.torch.LIF, norse.torch.LI(), norse.torch.Lift)))


class SnnTorchNetwork(nn.Module):
    """As in snnTorch's documentation: a loop over time around the whole network."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch

        readout = snntorch.Synaptic(alpha=ALPHA, beta=BETA, reset_mechanism="none")
        self.layers = nn.ModuleList(build_layers(lambda: snntorch.Synaptic(**snntorch_settings()), readout))

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


class StackList(nn.Module):
    """Stacks the list over time that a module returns into a tensor."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, xs: Tensor) -> Tensor:
        return torch.stack(self.module(xs))


def spikingjelly_network() -> nn.Module:
    """As in SpikingJelly's documentation: multi-step modules; layers without state run on all steps at once."""
    from spikingjelly.activation_based import layer, neuron

    # The leaky integrator of SpikingJelly that returns its potential over time.
    readout = neuron.NonSpikingLIFNode(tau=10.0)
    return SpikingJelly(*build_layers(spikingjelly_node, StackList(readout), layer.SeqToANNContainer))


class FoldTime(nn.Module):
    """Runs a layer without state on all steps at once, with batch and time as one dimension.

    The layers named "squeeze" in sinabs do the same to its stateful layers.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, xs: Tensor) -> Tensor:
        return self.module(xs.flatten(0, 1)).unflatten(0, xs.shape[:2])


def sinabs_network() -> nn.Module:
    """sinabs: layers without state run on all steps at once."""
    from sinabs.layers import ExpLeak, LIF

    return Sinabs(*build_layers(lambda: LIF(**sinabs_settings()), ExpLeak(tau_mem=10.0), FoldTime))


GEIR = "geir"
RELU = "ReLU in place of the neurons"
RELU_EVERY_STEP = "ReLU, first layer convolved at every step"
NETWORKS: Builders = {
    GEIR: lambda: geir_network(geir.LIF, geir.LI()),
    "geir, reference loop": lambda: geir_network(
        lambda: geir.LIF(unroll=geir.reference), geir.LI(unroll=geir.reference)
    ),
    "SpikingJelly": spikingjelly_network,
    "snnTorch": SnnTorchNetwork,
    "Norse": norse_network,
    "sinabs": sinabs_network,
}


def make_training_step(model: nn.Module, xs: Tensor, labels: Tensor) -> Job:
    """A forward pass, a backward pass and a step of Adam, too small to change how many neurons spike."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-7)

    def step() -> None:
        optimizer.zero_grad()
        max_potential_loss(model(xs), labels).backward()
        optimizer.step()

    return step


def measure_spikes(model: nn.Module, xs: Tensor) -> list[float]:
    """The share of neurons that spike in a step, for both spiking layers."""
    means: dict[nn.Module, list[Tensor]] = {}

    def record(module: nn.Module, _: object, output: Tensor | tuple[Tensor, ...]) -> None:
        zs = output[0] if isinstance(output, tuple) else output
        means.setdefault(module, []).append(zs.mean())

    # snnTorch's readout is a Synaptic, too; it comes last.
    layers = [module for module in model.modules() if type(module).__name__ in SPIKING_LAYERS][:2]
    handles = [layer.register_forward_hook(record) for layer in layers]
    with torch.no_grad():
        model(xs)
    for handle in handles:
        handle.remove()
    return [torch.stack(values).mean().item() for values in means.values()]


def make_images(device: torch.device) -> Tensor:
    """Make random images with the brightness of MNIST's, standardized like them."""
    shape = (BATCH, 1, 28, 28)
    pixels = torch.rand(shape, device=device) * (torch.rand(shape, device=device) < BRIGHT_SHARE)
    return (pixels - mnist.PIXEL_MEAN) / mnist.PIXEL_STD


def training_steps(bench: Bench) -> str:
    """A training step of a convolutional network."""
    torch.manual_seed(0)
    xs = make_images(bench.device).expand(STEPS, BATCH, 1, 28, 28)
    labels = torch.randint(10, (BATCH,), device=bench.device)
    # ReLU has no state, so it is not among the contestants that must iterate over time.
    models = {RELU: geir_network(nn.ReLU, nn.Identity()).to(bench.device)}
    every_step = OutputOnly(geir.SequentialState(*build_layers(nn.ReLU, nn.Identity(), FoldTime)))
    models[RELU_EVERY_STEP] = every_step.to(bench.device)
    models |= build_installed(NETWORKS, (STEPS, 2, 1, 28, 28), bench.device)
    spikes = {name: measure_spikes(model, xs) for name, model in models.items()}
    times = bench.time_jobs({name: make_training_step(model, xs, labels) for name, model in models.items()})
    rows = [
        [name, times[name], times[name] / times[RELU], times[name] / times[GEIR], _format_shares(spikes[name])]
        for name in sorted(times, key=times.__getitem__)
    ]
    return (
        "The network of `geir.tasks.mnist` (convolutions to 20 and 50 channels, a leaky readout), "
        f"T={STEPS}, B={BATCH}, 28 × 28: forward, backward, Adam. Each is built as its documentation recommends: "
        "geir, SpikingJelly and sinabs convolve all steps at once, snnTorch and Norse step by step. "
        "The images are the same at every step; the first convolution of geir's networks is computed once. "
        "The network with ReLU has no readout. All have the same weights, chosen so that both layers spike. "
        "*Spikes*: of the first / the second layer.\n\n"
        + format_table(["", "ms", "ratio to ReLU", "ratio to geir", "spikes"], rows)
    )


def _format_shares(shares: list[float]) -> str:
    return " / ".join(f"{share:.3f}" for share in shares) or "–"
