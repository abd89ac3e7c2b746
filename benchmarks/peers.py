"""The peers, with equations as near to geir's LIF as each allows: a synaptic current of 5 ms, a membrane of 10 ms, threshold 1, steps of 1 ms, a
reset that passes no gradient. All are modules from input over time, (time, batch, neurons), to output over time."""

import importlib.util
from typing import Any

import torch
from torch import Tensor, nn

# exp(-1 ms / tau) of the current and the membrane, for those who ask for it.
ALPHA, BETA = 0.8187, 0.9048


class Output(nn.Module):
    """The output alone of a module that returns it with its state."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, xs: Tensor) -> Tensor:
        return self.module(xs)[0]


class SnnTorch(nn.Module):
    """A neuron of snnTorch in a loop over time, as its documentation has it."""

    def __init__(self, cell: Any):
        super().__init__()
        self.cell = cell

    def forward(self, xs: Tensor) -> Tensor:
        self.cell.reset_mem()
        return torch.stack([self.cell(x)[0] for x in xs.unbind(0)])


class NorseLoop(nn.Module):
    """A cell of Norse over time; time is unbound, for the backward pass of ``xs[t]``, as in its layers, is quadratic in T."""

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

        self.modules_, self.reset = nn.Sequential(*modules), functional.reset_net

    def forward(self, xs: Tensor) -> Tensor:
        self.reset(self.modules_)
        return self.modules_(xs)


class Sinabs(nn.Module):
    """Layers of sinabs, which have the batch first, reset before each run."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        for module in self.layers.modules():
            for name in ("tau_mem", "tau_syn"):  # learnable in sinabs and not in the others
                if isinstance(getattr(module, name, None), nn.Parameter):
                    getattr(module, name).requires_grad_(False)

    def forward(self, xs: Tensor) -> Tensor:
        for layer in self.layers:
            if hasattr(layer, "reset_states"):
                layer.reset_states()
        return self.layers(xs.transpose(0, 1)).transpose(0, 1)


def norse_cell() -> nn.Module:
    """Without its quadratic backward pass."""
    import norse.torch

    return NorseLoop(norse.torch.LIFCell())


def norse_lif() -> nn.Module:
    """Its layer over time."""
    import norse.torch

    return Output(norse.torch.LIF())


def snntorch_settings() -> dict[str, Any]:
    """Its membrane adds up the current where the others average it, so its threshold is higher; reset by subtraction, its default and quickest."""
    import snntorch

    scale = 1 / (1 - BETA)
    return {
        "alpha": ALPHA,
        "beta": BETA,
        "threshold": scale,
        "spike_grad": snntorch.surrogate.fast_sigmoid(slope=100 / scale),
    }


def snntorch_synaptic() -> nn.Module:
    """Its LIF with a synaptic current."""
    import snntorch

    return SnnTorch(snntorch.Synaptic(**snntorch_settings()))


def spikingjelly_node(**settings: Any) -> nn.Module:
    """It has no synaptic current, which makes the same input 5.5 times as strong; so its threshold is lower."""
    from spikingjelly.activation_based import neuron

    node = neuron.LIFNode(tau=10.0, v_threshold=1 - ALPHA, detach_reset=True, **{"step_mode": "m", **settings})
    # Version 2 chooses the fastest kernel itself; before, one asks.
    if (
        torch.cuda.is_available()
        and "cupy" in getattr(node, "supported_backends", ())
        and importlib.util.find_spec("cupy")
    ):
        node.backend = "cupy"
    return node


def spikingjelly_flex() -> nn.Module:
    """The equations of geir's LIF as a user's neuron of SpikingJelly: on CUDA it derives Triton kernels from them."""
    from spikingjelly.activation_based import neuron, surrogate

    def step(x: Tensor, v: Tensor, i: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        i = i + x
        v = BETA * v + 0.0861 * i
        z = surrogate.sigmoid.apply(v - 1, 4.0)
        return z, v * (1 - z.detach()), ALPHA * i

    return SpikingJelly(neuron.FlexSN(step, num_states=2))


def super_spike(v: Tensor, threshold: Tensor) -> Tensor:
    """geir's surrogate derivative."""
    return 1 / (1 + 100 * (v - threshold).abs()) ** 2


def sinabs_settings() -> dict[str, Any]:
    """One spike a step at most, and a reset to zero, instead of its defaults."""
    from sinabs.activation import MembraneReset, SingleSpike

    return {
        "tau_mem": 10.0,
        "tau_syn": 5.0,
        "spike_fn": SingleSpike,
        "reset_fn": MembraneReset(),
        "surrogate_grad_fn": super_spike,
    }


def sinabs_lif() -> nn.Module:
    """Its layer over time."""
    from sinabs.layers import LIF

    return Sinabs(LIF(**sinabs_settings()))
