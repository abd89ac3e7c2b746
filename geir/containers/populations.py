"""Populations of different neurons, with connections between them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from .._runtime.stepper import DelayedConnection
from .._util.inputs import AnyInput, first_receptor, unbind_time
from .._util.state import AnyState, state_type
from .._util.validation import add_inputs, check_input_type, unwrap_input
from ..core.neuron import Dynamics
from ..wrappers import RecurrentMixin
from .time_axis import is_cell, Role


@state_type
class PopulationsState(NamedTuple):
    """State of `Populations`, in the order of its populations and connections."""

    neurons: tuple[AnyState, ...]  # states of the neurons
    outputs: tuple[Tensor, ...]  # their last outputs
    connections: tuple[AnyState, ...]  # states of the connections; () of one without delays


class Populations(nn.Module):
    r"""Populations of different neurons with connections between them, over time:

    .. math:: s^p_t, z^p_t = f_p\Bigl(s^p_{t-1},\; x^p_t + \sum_{q \to p} W_{q \to p}(z^q_{t-1}, z^q_{t-2}, \dots)\Bigr)

    with the state :math:`s`, output :math:`z` and step :math:`f` of each population. Any models go together, with any
    numbers of receptors. A connection takes one step, and its own delay comes on top. Steps run one after the other,
    each population in its kernel. Where all neurons are of one model, a recurrent layer with
    `geir.connections.Groups`, which runs as a whole inside a kernel, is faster.

    Args:
        neurons: For each population, its neurons: a layer over time such as `geir.LIF(...)`.
        connections: From the names of a presynaptic and a postsynaptic population to their connection: a module that
            maps one step of output to one step of input, such as `torch.nn.Linear`,
            `geir.connections.SparseLinear` or, with delays, `geir.connections.DelayedSparseLinear`;
            `geir.connections.Groups.project` draws one. To neurons with several receptors it is a
            `geir.connections.Receptors`, or another module that returns their input.

    Raises:
        TypeError: If neurons are no layer over time, or a connection is no module.
        ValueError: If a connection names a population that does not exist, steps `dt` differ, or states are recorded.

    >>> from geir import AdEx, LIF
    >>> network = Populations(
    ...     {"exc": AdEx(), "inh": LIF()}, {("exc", "inh"): nn.Linear(80, 20), ("inh", "exc"): nn.Linear(20, 80)}
    ... )
    >>> zs, state = network({"exc": torch.rand(50, 1, 80), "inh": torch.zeros(50, 1, 20)})
    >>> zs["inh"].shape
    torch.Size([50, 1, 20])
    """

    def __init__(self, neurons: Mapping[str, nn.Module], connections: Mapping[tuple[str, str], nn.Module]):
        super().__init__()
        for name, layer in neurons.items():
            if not isinstance(layer, Dynamics) or is_cell(layer):
                raise TypeError(
                    f"Populations expected for {name!r} a layer of neurons over time, such as LIF(), got "
                    f"{type(layer).__name__}."
                )
            if layer.record_states:
                raise ValueError(
                    f"Populations: {name!r} records its states, but populations advance step by step; set "
                    "record_states to False."
                )
            if isinstance(layer, RecurrentMixin):
                raise TypeError(
                    f"Populations: {name!r} is a {type(layer).__name__}, which is recurrent by itself; use its neuron, "
                    f"and make its recurrent weights the connection ({name!r}, {name!r})."
                )
        for ends, connection in connections.items():
            for name in ends:
                if name not in neurons:
                    raise ValueError(
                        f"Populations: the connection {ends} names a population {name!r}; there are: "
                        f"{', '.join(neurons) or 'none'}."
                    )
            if not isinstance(connection, nn.Module):
                raise TypeError(f"Populations: the connection {ends} must be a module, got {connection!r}.")
        modules = {**neurons, **{str(ends): connection for ends, connection in connections.items()}}
        steps = {name: module.dt for name, module in modules.items() if hasattr(module, "dt")}
        if len(set(steps.values())) > 1:
            given = ", ".join(f"{name}: {dt:g}" for name, dt in steps.items())
            raise ValueError(f"Populations must have the same step dt everywhere, got {given}.")
        self.neurons = nn.ModuleDict(neurons)
        self.ends = list(connections)
        self.connections = nn.ModuleList(connections.values())

    def time_role(self) -> Role:
        """It takes all steps."""
        return "time"

    def forward(
        self, xs: Mapping[str, AnyInput], state: PopulationsState | None = None
    ) -> tuple[dict[str, Tensor], PopulationsState]:
        """Run over time.

        Args:
            xs: For each population its input from outside, shape (time, ..., neurons); of several receptors a named
                tuple.
            state: State to continue from. Default: all neurons at rest, and no spike on its way.

        Returns:
            The output of each population, shape (time, ..., neurons), and the state after the last step.

        Raises:
            TypeError: If an input, or that from a connection, is not of the receptors of its population.
            ValueError: If a population has no input, or inputs and connections do not fit together.
        """
        inputs = self._check_inputs(xs)
        state = self._initial_state(inputs) if state is None else state
        if not isinstance(state, PopulationsState):
            raise TypeError(f"Populations expected a PopulationsState, got {type(state).__name__}.")
        outputs: list[tuple[Tensor, ...]] = []
        for step in zip(*map(unbind_time, inputs.values()), strict=True):
            state = self._step(dict(zip(inputs, step, strict=True)), state)
            outputs.append(state.outputs)
        return {name: torch.stack(zs) for name, zs in zip(inputs, zip(*outputs, strict=True), strict=True)}, state

    def _step(self, inputs: dict[str, AnyInput], state: PopulationsState) -> PopulationsState:
        """One step of all populations."""
        past = dict(zip(self.neurons, state.outputs, strict=True))
        inputs, connection_states = dict(inputs), list[AnyState]()
        connections = zip(self.ends, self.connections, state.connections, strict=True)
        for (source, target), connection, connection_state in connections:
            if isinstance(connection, DelayedConnection):
                y, connection_state = connection.advance(past[source], connection_state)
            else:
                y = connection(past[source])
            inputs[target] = self._add(source, target, inputs[target], y)
            connection_states.append(connection_state)
        results = []
        for (name, layer), before in zip(self.neurons.items(), state.neurons, strict=True):
            x = inputs[name]
            results.append(layer(x[None] if isinstance(x, Tensor) else type(x)(*(part[None] for part in x)), before))
        outputs, states = zip(*((zs[0], after) for zs, after in results), strict=True)
        return PopulationsState(states, outputs, tuple(connection_states))

    def _add(self, source: str, target: str, x: AnyInput, y: AnyInput) -> AnyInput:
        name = f"Populations: the connection from {source!r} to {target!r}"
        layer: Any = self.neurons[target]
        check_input_type(f"{name}, a {type(layer).__name__}: it", y, layer.input_types)
        shapes = tuple(first_receptor(x).shape), tuple(first_receptor(y).shape)
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{name} returned input of shape {shapes[1]}, but one step of input has shape {shapes[0]}."
            )
        return add_inputs(name, x, y)

    def _check_inputs(self, xs: Mapping[str, AnyInput]) -> dict[str, AnyInput]:
        """The input of each population, in their order."""
        if not isinstance(xs, Mapping) or xs.keys() != set(self.neurons):
            given = ", ".join(xs) if isinstance(xs, Mapping) else type(xs).__name__
            raise ValueError(
                f"Populations expected a dictionary with input for each of {', '.join(self.neurons)}, got {given}; "
                "where nothing arrives from outside, it is zeros of shape (time, ..., neurons)."
            )
        inputs = {name: unwrap_input(f"Populations: {name!r}", xs[name]) for name in self.neurons}
        shapes = {name: tuple(first_receptor(x).shape) for name, x in inputs.items()}
        leading = {shape[:-1] for shape in shapes.values()}
        if min(map(len, shapes.values())) < 2 or len(leading) > 1 or 0 in {shape[0] for shape in shapes.values()}:
            given = ", ".join(f"{name}: {shape}" for name, shape in shapes.items())
            raise ValueError(
                "Populations expected inputs of shape (time, ..., neurons), with at least one step, the same but for "
                f"the neurons, got {given}."
            )
        for name, x in inputs.items():
            layer: Any = self.neurons[name]
            check_input_type(f"Populations: {name!r}", x, layer.input_types)
        for (source, target), connection in zip(self.ends, self.connections, strict=True):
            size = getattr(connection, "in_features", shapes[source][-1])
            if size != shapes[source][-1]:
                raise ValueError(
                    f"Populations: the connection from {source!r} to {target!r} takes {size} neurons, but {source!r} "
                    f"has {shapes[source][-1]}."
                )
        return inputs

    def _initial_state(self, inputs: dict[str, AnyInput]) -> PopulationsState:
        firsts = {name: first_receptor(xs) for name, xs in inputs.items()}
        zeros = {name: xs.new_zeros(xs.shape[1:]) for name, xs in firsts.items()}
        connections = (
            connection.initial_state(zeros[source]) if isinstance(connection, DelayedConnection) else ()
            for (source, _), connection in zip(self.ends, self.connections, strict=True)
        )
        layers: Any = self.neurons
        neurons = (layers[name].initial_state(z) for name, z in zeros.items())
        return PopulationsState(tuple(neurons), tuple(zeros.values()), tuple(connections))
