"""What runs against what: a name, and a function from input over time, (time, batch, neurons), to output."""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

import geir

Run = Callable[[Tensor], Tensor]


class QIFState(NamedTuple):
    """State of a QIF neuron."""

    v: Tensor  # membrane potential


class QIF(geir.Neuron[QIFState]):
    """A user's neuron, as in the README."""

    tau: geir.Parameter = geir.parameter(default=20e-3, unit="s", above=0.0)

    def rest(self) -> QIFState:
        return QIFState(v=torch.zeros(()))

    def step(self, x: Tensor, state: QIFState) -> tuple[Tensor, QIFState]:
        v = state.v + self.dt / self.tau * (state.v**2 + x)
        z = self.surrogate(v - 1)
        return z, QIFState(v=v * (1 - z))


def of_geir() -> dict[str, Run]:
    """geir's models, and the loop that defines LIF."""
    models = {
        "geir LIF": geir.LIF(),
        "geir LIF, Euler": geir.LIF(integrator=geir.Euler()),
        "geir LSNN": geir.LSNN(),
        "geir Refractory(LIF)": geir.Refractory(geir.LIF()),
        "geir Adex": geir.Adex(),
        "geir user's QIF": QIF(),
        "geir LIF, reference loop": geir.LIF(unroll=geir.reference),
    }
    return {name: lambda xs, model=model: model(xs)[0] for name, model in models.items()}


def of_peers() -> dict[str, Run]:
    """The peers that are installed, their LIF with equations as near to geir's as each allows."""
    found: dict[str, Run] = {}
    if importlib.util.find_spec("norse"):
        import norse.torch

        norse_lif = norse.torch.LIF()
        found["Norse LIF"] = lambda xs: norse_lif(xs)[0]
    if importlib.util.find_spec("snntorch"):
        import snntorch

        synaptic = snntorch.Synaptic(alpha=0.8187, beta=0.9048, spike_grad=snntorch.surrogate.fast_sigmoid(slope=100), reset_mechanism="zero")

        def run_snntorch(xs: Tensor) -> Tensor:
            current, potential = synaptic.init_synaptic()
            spikes = []
            for x in xs.unbind(0):
                spike, current, potential = synaptic(x, current, potential)
                spikes.append(spike)
            return torch.stack(spikes)

        found["snnTorch Synaptic"] = run_snntorch
    if importlib.util.find_spec("spikingjelly"):
        from spikingjelly.activation_based import functional, neuron

        node = neuron.LIFNode(tau=10.0, decay_input=True, detach_reset=True, step_mode="m")

        def run_spikingjelly(xs: Tensor) -> Tensor:
            functional.reset_net(node)
            return node(xs)

        found["SpikingJelly LIFNode"] = run_spikingjelly
    if importlib.util.find_spec("sinabs"):
        import sinabs.layers

        layer = sinabs.layers.LIF(tau_mem=10.0, tau_syn=5.0)

        def run_sinabs(xs: Tensor) -> Tensor:
            layer.reset_states()
            return layer(xs.transpose(0, 1)).transpose(0, 1)

        found["sinabs LIF"] = run_sinabs
    return found


def recurrent(inputs: int, hidden: int) -> dict[str, Run]:
    """Recurrent LIFs, geir's and the peers'."""
    kernels, loop = geir.LIFRecurrent(inputs, hidden), geir.LIFRecurrent(inputs, hidden, unroll=geir.reference)
    with torch.no_grad():
        for model in (kernels, loop):
            model.input_weights.mul_(6)  # type: ignore[operator]  # so that some 7 % of the neurons fire
    found: dict[str, Run] = {"geir LIFRecurrent": lambda xs: kernels(xs)[0], "geir LIFRecurrent, reference loop": lambda xs: loop(xs)[0]}
    if importlib.util.find_spec("norse"):
        import norse.torch

        theirs = norse.torch.LIFRecurrent(inputs, hidden)
        found["Norse LIFRecurrent"] = lambda xs: theirs(xs)[0]
    if importlib.util.find_spec("snntorch"):
        import snntorch

        layer, weights = snntorch.RSynaptic(alpha=0.8187, beta=0.9048, linear_features=hidden), nn.Linear(inputs, hidden, bias=False)

        def run_snntorch(xs: Tensor) -> Tensor:
            spike, current, potential = layer.init_rsynaptic()
            spikes = []
            for x in weights(xs).unbind(0):
                spike, current, potential = layer(x, spike, current, potential)
                spikes.append(spike)
            return torch.stack(spikes)

        found["snnTorch RSynaptic"] = run_snntorch
    return found


def iterates_over_time(run: Run, xs: Tensor, at: int) -> bool:
    """Whether a change of the input at one time changes the output from then on, and never before; tried at several strengths of input."""
    seen = False
    for gain in (0.02, 0.2, 1.0):
        before_change, changed = gain * xs, gain * xs
        changed[at] += 50
        with torch.no_grad():
            before, after = run(before_change), run(changed)
        if not torch.equal(before[:at], after[:at]):
            return False
        seen = seen or not torch.equal(before[at:], after[at:])
    return seen
