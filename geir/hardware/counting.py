"""Count what a network does: synaptic operations, spikes, updates of neurons, memory; and estimate its energy."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from .._util.precision import widen
from .._util.recording import Call, record_calls
from .._util.state import leaves
from ..core.neuron import Dynamics
from ..measures.operations import count_events, count_product, Product, products, synaptic_operations
from ..wrappers import CellMixin
from .energy import Energy, ENERGY_MODELS, EnergyModel


class LayerCounts(NamedTuple):
    """Numbers of one connection, summed over batch and time."""

    events: int  # inputs that are not zero
    accumulates: int  # synaptic operations, if all inputs of the run are -1, 0 or 1
    multiply_accumulates: int  # synaptic operations, if not
    dense: int  # operations of the dense product, zeros included
    synapses: int  # weights that are not zero


class NeuronCounts(NamedTuple):
    """Numbers of one layer of neurons, summed over batch and time."""

    neurons: int  # neurons of one sample
    updates: int  # neurons times steps
    active: int  # updates in which the neuron spikes
    spikes: int  # the same, or more where a neuron spikes several times in a step


@dataclass(frozen=True)
class NetworkCounts:
    """Operations, spikes and memory of one run of a network. `print` shows them as a table.

    Args:
        connections: Synaptic operations of each connection by its name.
        neurons: Spikes and updates of each layer of neurons by its name.
        samples: Size of the batch.
        weight_bytes: Memory of parameters and buffers.
        state_bytes: Memory of the states of all neurons, for one sample.
        energy: Estimate for one sample, with a target.
        source: Where the constants of the estimate are from.
    """

    connections: dict[str, LayerCounts]
    neurons: dict[str, NeuronCounts]
    samples: int
    weight_bytes: int
    state_bytes: int
    energy: Energy | None = None
    source: str = ""

    @property
    def accumulates(self) -> int:
        """Synaptic operations on spikes, of all connections."""
        return sum(layer.accumulates for layer in self.connections.values())

    @property
    def multiply_accumulates(self) -> int:
        """Synaptic operations on numbers, of all connections."""
        return sum(layer.multiply_accumulates for layer in self.connections.values())

    @property
    def spikes(self) -> int:
        """Spikes of all neurons."""
        return sum(layer.spikes for layer in self.neurons.values())

    def __str__(self) -> str:
        width = max([10, *(len(name) for name in (*self.connections, *self.neurons))])
        lines = [f"{'connection':<{width}}  {'events':>12} {'ACs':>14} {'MACs':>14} {'dense':>14} {'synapses':>10}"]
        lines += [
            f"{name:<{width}}  {n.events:>12,} {n.accumulates:>14,} {n.multiply_accumulates:>14,} {n.dense:>14,} "
            f"{n.synapses:>10,}"
            for name, n in self.connections.items()
        ]
        lines.append(f"{'neurons':<{width}}  {'neurons':>12} {'updates':>14} {'active':>14} {'spikes':>14}")
        lines += [
            f"{name:<{width}}  {n.neurons:>12,} {n.updates:>14,} {n.active:>14,} {n.spikes:>14,}"
            for name, n in self.neurons.items()
        ]
        lines.append(
            f"{self.samples} samples; memory: {self.weight_bytes:,} bytes of weights, {self.state_bytes:,} bytes of "
            "state for one sample"
        )
        if self.energy is not None:
            energy = self.energy
            lines.append(
                f"energy of one sample: {_joules(energy.total)} (synapses {_joules(energy.synapses)}, neurons "
                f"{_joules(energy.neurons)}, spikes {_joules(energy.spikes)})"
            )
            if energy.excluded:
                lines.append(f"not included, since their inputs are not spikes: {', '.join(energy.excluded)}")
            lines.append(f"constants: {self.source}")
        return "\n".join(lines)


def _joules(energy: float) -> str:
    for factor, unit in ((1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ")):
        if energy >= factor:
            return f"{energy / factor:.3g} {unit}"
    return f"{energy / 1e-12:.3g} pJ"


def count(model: nn.Module, xs: Tensor, state: object = None, target: str | EnergyModel | None = None) -> NetworkCounts:
    """Run a network once and count what it does, and estimate its energy on a target.

    Synaptic operations are those of `geir.measures.count_operations`: one for each input that is not zero and each
    synapse that it reaches, exact at the borders of convolutions. If all inputs of a connection in this run are -1, 0
    or 1, an operation is an accumulate; else it is a multiply-accumulate. Pooling is not counted. Numbers are sums
    over batch and time.

    An energy estimate multiplies these numbers by published energies of single operations, `ENERGY_MODELS`. It leaves
    out what they leave out, such as static power, and is good for comparing networks on one target rather than targets.

    Args:
        model: A network over time, in evaluation mode.
        xs: Input, shape (time, batch, ...).
        state: State to continue from. Default: the resting state.
        target: A name of `ENERGY_MODELS`, or energies of your own. Default: no estimate.

    Returns:
        The numbers of each layer, their sums, memory, and the energy of one sample.

    Raises:
        TypeError: If a module has weights whose operations are not known.
        ValueError: If `xs` has no batch dimension or is not finite, or there is no such target.

    >>> import geir
    >>> model = geir.SequentialState(nn.Linear(3, 2), geir.LIF(), lift=True)
    >>> counts = count(model, torch.tensor([[[1.0, 0.0, 1.0]]]), target="loihi")
    >>> counts.connections["0"]
    LayerCounts(events=2, accumulates=4, multiply_accumulates=0, dense=6, synapses=6)
    """
    energies = _find_energies("count", target)
    _check_input("count", xs)
    counter = _Counter(xs.shape[1])
    with torch.no_grad(), record_calls(model, counter.add_call):
        # A module without state is counted, too.
        model(xs) if state is None else model(xs, state)
    tensors = [*model.parameters(), *model.buffers()]
    counts = NetworkCounts(
        {name: entry.counts() for name, entry in counter.connections.items()},
        counter.neurons,
        xs.shape[1],
        sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        sum(counter.state_bytes.values()),
    )
    return counts if energies is None else replace(counts, energy=_estimate(counts, energies), source=energies.source)


def record_energy(model: nn.Module, xs: Tensor, target: str | EnergyModel, state: object = None) -> tuple[Any, Tensor]:
    """Run a network and estimate its energy on a target, with gradients, for a loss.

    The estimate is that of `count`. Its gradient with respect to a spike is the energy of the synaptic operations that
    the spike causes, of its transport and of the active update.

    Args:
        model: A network over time.
        xs: Input, shape (time, batch, ...).
        target: A name of `ENERGY_MODELS`, or energies of your own.
        state: State to continue from. Default: the resting state.

    Returns:
        The result of the call, and the energy of one sample in joules, a scalar.

    Raises:
        TypeError: If a module has weights whose operations are not known.
        ValueError: If `xs` has no batch dimension or is not finite, or there is no such target.

    >>> import geir
    >>> model = geir.SequentialState(nn.Linear(3, 2), geir.LIF(), nn.Linear(2, 2), geir.LI(), lift=True)
    >>> (vs, state), energy = record_energy(model, torch.ones(20, 1, 3), target="loihi")
    >>> (1e6 * energy).backward()
    """
    energies = _find_energies("record_energy", target)
    if energies is None:
        raise ValueError(f"record_energy needs a target, such as {', '.join(map(repr, ENERGY_MODELS))}.")
    _check_input("record_energy", xs)
    counter = _Counter(xs.shape[1], differentiable=True)
    with record_calls(model, counter.add_call):
        result = model(xs) if state is None else model(xs, state)
    connections = {name: entry.counts() for name, entry in counter.connections.items()}
    energy = _estimate(NetworkCounts(connections, counter.neurons, xs.shape[1], 0, 0), energies).total
    # Nothing depends on the parameters if there is no spiking neuron.
    return result, torch.as_tensor(energy, device=xs.device)


def _find_energies(caller: str, target: str | EnergyModel | None) -> EnergyModel | None:
    if isinstance(target, str):
        if target not in ENERGY_MODELS:
            raise ValueError(
                f"{caller} knows the energies of {', '.join(ENERGY_MODELS)}, not {target!r}; pass a "
                "geir.hardware.EnergyModel."
            )
        return ENERGY_MODELS[target]
    return target


def _check_input(caller: str, xs: Tensor) -> None:
    if not isinstance(xs, Tensor) or xs.dim() < 2 or not xs.shape[0] or not xs.shape[1]:
        shape = tuple(xs.shape) if isinstance(xs, Tensor) else type(xs).__name__
        raise ValueError(f"{caller} expected an input of shape (time, batch, ...), got {shape}.")
    if not xs.isfinite().all():
        raise ValueError(f"{caller}: the input contains NaN or infinity.")


def _estimate(counts: NetworkCounts, model: EnergyModel) -> Energy:
    excluded = ()
    synapses = counts.accumulates * model.accumulate
    if model.multiply_accumulate is None:
        excluded = tuple(name for name, layer in counts.connections.items() if layer.multiply_accumulates)
    else:
        synapses += counts.multiply_accumulates * model.multiply_accumulate
    active = sum(layer.active for layer in counts.neurons.values())
    updates = sum(layer.updates for layer in counts.neurons.values())
    neurons = active * model.active_update + (updates - active) * model.inactive_update
    spikes = counts.spikes * model.spike
    return Energy(synapses / counts.samples, neurons / counts.samples, spikes / counts.samples, excluded)


@dataclass
class _Connection:
    """The sums of one connection so far."""

    events: int = 0
    synops: Any = 0  # a tensor if it is differentiable
    dense: int = 0
    synapses: int = 0
    binary: bool = True

    def add(self, product: Product, differentiable: bool) -> None:
        with torch.no_grad():
            new = count_product(product)
        self.events += new.events
        self.synops = self.synops + (synaptic_operations(product) if differentiable else new.synops)
        self.dense += new.macs
        self.synapses = int(product.weight.count_nonzero())
        self.binary = self.binary and bool(((product.x == 0) | (product.x.abs() == 1)).all())

    def counts(self) -> LayerCounts:
        accumulates = self.synops if self.binary else 0
        return LayerCounts(self.events, accumulates, self.synops - accumulates, self.dense, self.synapses)


@dataclass
class _Counter:
    """Adds up the calls of a run."""

    samples: int
    differentiable: bool = False  # numbers of synaptic operations and of spikes are tensors
    connections: dict[str, _Connection] = field(default_factory=dict)
    neurons: dict[str, NeuronCounts] = field(default_factory=dict)
    state_bytes: dict[str, int] = field(default_factory=dict)

    def add_call(self, call: Call) -> None:
        for product in products(call):
            self.connections.setdefault(product.name, _Connection()).add(product, self.differentiable)
        if isinstance(call.module, Dynamics):
            self._add_neurons(call.name, call.module, *call.result)

    def _add_neurons(self, name: str, module: Dynamics, zs: Tensor, state: tuple[object, ...]) -> None:
        old = self.neurons.get(name, NeuronCounts(0, 0, 0, 0))
        active: Any = 0
        spikes: Any = 0
        if module.spiking and self.differentiable:
            active, spikes = count_events(zs).sum(), widen(zs).abs().sum()
        elif module.spiking:
            active, spikes = int(zs.count_nonzero()), round(zs.double().abs().sum().item())
        over_time = not isinstance(module, CellMixin)
        steps = len(zs) if over_time else 1
        self.neurons[name] = NeuronCounts(
            zs.numel() // (steps * self.samples), old.updates + zs.numel(), old.active + active, old.spikes + spikes
        )
        size = sum(part.numel() * part.element_size() for _, part in leaves(state))
        recorded = steps if over_time and module.record_states else 1
        self.state_bytes[name] = size // (recorded * self.samples)
