"""The neurons of other libraries, as modules from input over time, (time, batch, neurons), to output over time.

Their equations are as close as each library allows to those of geir's LIF: a synaptic current of 5
ms, a membrane of 10 ms, threshold 1, steps of 1 ms, and a reset that passes no gradient.
"""

import importlib.util
from typing import Any

import torch
from torch import nn, Tensor

# exp(-dt / tau) of the current and the membrane, for the libraries that take decay factors.
ALPHA, BETA = 0.8187, 0.9048

# Increase of the membrane per unit of current in a step of geir's exact integration.
CURRENT_GAIN = 0.0861


class OutputOnly(nn.Module):
    """Drops the state that a module returns with its output."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, xs: Tensor) -> Tensor:
        return self.module(xs)[0]


class SnnTorch(nn.Module):
    """A neuron of snnTorch in a loop over time, as in its documentation."""

    def __init__(self, cell: Any):
        super().__init__()
        self.cell = cell

    def forward(self, xs: Tensor) -> Tensor:
        self.cell.reset_mem()
        return torch.stack([self.cell(x)[0] for x in xs.unbind(0)])


class NorseLoop(nn.Module):
    """A cell of Norse in a loop over `xs.unbind(0)`.

    The backward pass of Norse's layers is quadratic in T, because they index `xs[t]`.
    """

    def __init__(self, cell: nn.Module):
        super().__init__()
        self.cell = cell

    def forward(self, xs: Tensor) -> Tensor:
        outputs, state = [], None
        for x in xs.unbind(0):
            z, state = self.cell(x, state)
            outputs.append(z)
        return torch.stack(outputs)


class SpikingJelly(nn.Module):
    """Multi-step modules of SpikingJelly, reset before each run."""

    def __init__(self, *modules: nn.Module):
        super().__init__()
        from spikingjelly.activation_based import functional

        self.layers = nn.Sequential(*modules)
        self.reset = functional.reset_net

    def forward(self, xs: Tensor) -> Tensor:
        self.reset(self.layers)
        return self.layers(xs)


class Sinabs(nn.Module):
    """Layers of sinabs, which take (batch, time, ...), reset before each run."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        for module in self.layers.modules():
            for name in ("tau_mem", "tau_syn"):  # learnable in sinabs, but not in the other libraries
                if isinstance(getattr(module, name, None), nn.Parameter):
                    getattr(module, name).requires_grad_(False)

    def forward(self, xs: Tensor) -> Tensor:
        for layer in self.layers:
            if hasattr(layer, "reset_states"):
                layer.reset_states()
        return self.layers(xs.transpose(0, 1)).transpose(0, 1)


def norse_cell_loop() -> nn.Module:
    """Norse's LIFCell in a loop, without the quadratic backward pass of its layer."""
    import norse.torch

    return NorseLoop(norse.torch.LIFCell())


def norse_lif() -> nn.Module:
    """Norse's LIF layer."""
    import norse.torch

    return OutputOnly(norse.torch.LIF())


def _snntorch_membrane(threshold: float) -> dict[str, object]:
    """Settings of a membrane of snnTorch.

    It sums the current where the other libraries average it, so its threshold is higher. Its reset is by subtraction,
    which is its default and its fastest.
    """
    import snntorch

    scale = 1 / (1 - BETA)
    surrogate = snntorch.surrogate.fast_sigmoid(slope=100 / scale)
    return {"beta": BETA, "threshold": threshold * scale, "spike_grad": surrogate}


def snntorch_settings() -> dict[str, object]:
    """Settings of snnTorch's Synaptic."""
    return {"alpha": ALPHA, **_snntorch_membrane(threshold=1.0)}


def snntorch_synaptic() -> nn.Module:
    """snnTorch's LIF with a synaptic current."""
    import snntorch

    return SnnTorch(snntorch.Synaptic(**snntorch_settings()))


def snntorch_leaky() -> nn.Module:
    """snnTorch's Leaky, which has no synaptic current; its threshold is as low as that of SpikingJelly's LIFNode."""
    import snntorch

    return SnnTorch(snntorch.Leaky(**_snntorch_membrane(threshold=1 - ALPHA)))


def spikingjelly_node(step_mode: str = "m") -> nn.Module:
    """SpikingJelly's LIFNode.

    It has no synaptic current, so the same input is 5.5 times as strong; therefore its threshold is lower.
    """
    from spikingjelly.activation_based import neuron

    node = neuron.LIFNode(tau=10.0, v_threshold=1 - ALPHA, detach_reset=True, step_mode=step_mode)
    # Version 2 selects the fastest kernel itself; earlier versions must be told.
    if (
        torch.cuda.is_available()
        and "cupy" in getattr(node, "supported_backends", ())
        and importlib.util.find_spec("cupy")
    ):
        node.backend = "cupy"
    return node


def spikingjelly_flex() -> nn.Module:
    """The equations of geir's LIF as a user-defined neuron of SpikingJelly.

    On CUDA, SpikingJelly derives Triton kernels from them.
    """
    from spikingjelly.activation_based import neuron, surrogate

    def step(x: Tensor, v: Tensor, i: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        i = i + x
        v = BETA * v + CURRENT_GAIN * i
        z = surrogate.sigmoid.apply(v - 1, 4.0)
        return z, v * (1 - z.detach()), ALPHA * i

    return SpikingJelly(neuron.FlexSN(step, num_states=2))


def super_spike(v: Tensor, threshold: Tensor) -> Tensor:
    """The surrogate derivative of geir's LIF, for sinabs."""
    return 1 / (1 + 100 * (v - threshold).abs()) ** 2


def sinabs_settings() -> dict[str, object]:
    """Settings of sinabs' LIF: at most one spike per step and a reset to zero, unlike its defaults."""
    from sinabs.activation import MembraneReset, SingleSpike

    return {
        "tau_mem": 10.0,
        "tau_syn": 5.0,
        "spike_fn": SingleSpike,
        "reset_fn": MembraneReset(),
        "surrogate_grad_fn": super_spike,
    }


def sinabs_lif() -> nn.Module:
    """sinabs' LIF layer."""
    from sinabs.layers import LIF

    return Sinabs(LIF(**sinabs_settings()))
