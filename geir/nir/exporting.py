"""From geir to NIR."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, Literal

import numpy as np
import torch
from torch import nn, Tensor

from ..containers import Lift, RecurrentSequential, SequentialState
from ..core.neuron import Dynamics
from ..core.resets import ResetBySubtraction
from ..surrogates import MultiSpike
from ..wrappers import RecurrentMixin
from ._graph import flatten_graph, holding_delays, order_blocks
from ._models import describe, Description, make_node, to_numpy
from ._shapes import infer_shapes, output_shape, Shape
from ._stateless_nodes import both_dimensions, stateless_node
from .errors import errors_of, import_nir, NIRError
from .files import check_numbers, Graph
from .network import NIRNetwork

# What to do with what NIR has no place for.
OnUnsupported = Literal["refuse", "metadata", "subgraph"]
# Nodes whose outputs are spikes.
_SPIKING = ("IF", "LIF", "CubaLIF", "Threshold")


def to_nir(model: nn.Module, input_shape: Sequence[int], on_unsupported: OnUnsupported = "refuse") -> Graph:
    """Write a model as a NIR graph.

    A model is a neuron, a layer, `Lift`, `torch.nn.Sequential`, `geir.SequentialState`, `geir.RecurrentSequential`
    or the `NIRNetwork` that `from_nir` returns. Neurons are written with all their parameters; step size, integrator
    and reset go into the metadata, so that ``from_nir(to_nir(model))`` computes what `model` does. NIR is in
    continuous time, so other programs may integrate it in another way.

    The maximum over spikes of `torch.nn.MaxPool2d` is written as their sum and a threshold.

    A jump of the synaptic current, as in `geir.LIF`, is written as a weight of the input of `tau_syn / dt`: in NIR,
    the input is a current during the step.

    Args:
        model: The model, in evaluation mode if it has dropout.
        input_shape: Shape of one step of one sample, without time and batch.
        on_unsupported: What to do with neurons that NIR cannot express. "refuse": raise an error. "metadata": write the
            neuron without what NIR lacks, and all of it in metadata, from which `from_nir` restores it; other
            programs run another neuron. "subgraph": write reset by subtraction as a leaky integrator, a threshold
            and a feedback weight, which have the same spikes for the integrator and `dt` of the model; refuse
            anything else.

    Returns:
        A `nir.NIRGraph`; `write` saves it.

    Raises:
        NIRError: If NIR cannot express a module; it names the module and the reason.
        ValueError: If `input_shape` or `on_unsupported` is invalid.
        ImportError: If the `nir` package is not installed.
    """
    if on_unsupported not in get_args(OnUnsupported):
        raise ValueError(f"on_unsupported must be one of {get_args(OnUnsupported)}, got {on_unsupported!r}.")
    if isinstance(input_shape, int) or not all(isinstance(side, int) and side > 0 for side in input_shape):
        raise ValueError(f"input_shape must be a list of positive integers, without time and batch, got {input_shape}.")
    builder = _Builder(on_unsupported)
    shape = tuple(input_shape)
    if isinstance(model, NIRNetwork):
        graph = builder.convert_network(model)
    else:
        source = builder.add("input", import_nir().Input(input_type={"input": np.array(shape)}), [], shape)
        last = builder.convert(model, "", source)
        builder.add("output", _output(builder.shapes[last]), [last], builder.shapes[last])
        graph = builder.graph()
    flat = flatten_graph(graph)
    infer_shapes(flat, order_blocks(flat, holding_delays(flat)))
    return graph


def _output(shape: Shape) -> Any:
    return import_nir().Output(output_type={"output": np.array(shape)})


@dataclass
class _Builder:
    """The nodes and edges so far."""

    on_unsupported: OnUnsupported
    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)  # of outputs
    metadata: dict[str, Any] = field(default_factory=dict)
    dt: float | None = None

    def graph(self) -> Graph:
        if self.dt is not None:
            self.metadata["geir_dt"] = self.dt
        return import_nir().NIRGraph(self.nodes, self.edges, metadata=self.metadata, type_check=False)

    def add(self, name: str, node: Any, sources: Sequence[str], shape: Shape) -> str:
        """Add a node whose input has this shape. Returns its name, another one if the name is taken."""
        while name in self.nodes:
            name += "_"
        kind = type(node).__name__
        for key in ("weight", "bias", "scale", "threshold", "delay"):
            if hasattr(node, key):
                check_numbers(kind, key, getattr(node, key), name)
        self.nodes[name] = node
        self.shapes[name] = output_shape(node, kind, shape, name)
        self.edges += [(source, name) for source in sources]
        return name

    def convert(self, module: nn.Module, path: str, source: str) -> str:
        """Add a module behind the node `source`. Returns the name of the last node."""
        with errors_of(node=path or None):
            if isinstance(module, Lift):
                return self.convert(module.module, path, source)
            if type(module) in (nn.Sequential, SequentialState):
                for name, child in module.named_children():
                    source = self.convert(child, f"{path}.{name}" if path else name, source)
                return source
            if isinstance(module, RecurrentSequential):
                return self._convert_feedback(module, path, source)
            if isinstance(module, NIRNetwork):
                raise NIRError("a NIRNetwork inside another module cannot be written; write it alone")
            if type(module) is nn.Identity or (isinstance(module, nn.Dropout | nn.Dropout2d) and not module.training):
                return source
            if isinstance(module, RecurrentMixin):
                return self._convert_recurrent(module, path or "recurrent", source)
            shape = self.shapes[source]
            if type(module) is nn.MaxPool2d:
                return self._add_max_pool(module, path or "pool", source)
            if isinstance(module, Dynamics):
                return self._add_neuron(module, path or "neuron", [source], shape)
            return self.add(path or "layer", stateless_node(module, shape, path), [source], shape)

    def _add_max_pool(self, module: nn.MaxPool2d, name: str, source: str) -> str:
        """Add the maximum of spikes, which is 1 where their sum is positive."""
        if type(self.nodes[source]).__name__ not in _SPIKING or "geir_multiple_spikes" in self.nodes[source].metadata:
            raise NIRError("NIR has no MaxPool2d; it can be written only directly after neurons with spikes of 0 and 1")
        plain = not module.ceil_mode and not module.return_indices
        if not plain or not np.all(np.array(module.dilation) == 1):
            raise NIRError("NIR has no MaxPool2d with ceil_mode, return_indices or dilation")
        sizes: Any = {key: both_dimensions(getattr(module, key)) for key in ("kernel_size", "stride", "padding")}
        nir = import_nir()
        pooled = self.add(f"{name}.sum", nir.SumPool2d(**sizes), [source], self.shapes[source])
        shape = self.shapes[pooled]
        return self.add(f"{name}.any", nir.Threshold(threshold=np.full(shape, 0.5, np.float32)), [pooled], shape)

    def _check_dt(self, dt: float) -> None:
        if self.dt is not None and dt != self.dt:
            raise NIRError(f"it has dt = {dt:g} s, modules before it {self.dt:g} s; NIR has one time")
        self.dt = dt

    def _add_neuron(self, model: Dynamics, name: str, sources: Sequence[str], shape: Shape) -> str:
        self._check_dt(float(model.dt))
        return self._add_description(describe(model), model, name, sources, shape)

    def _add_description(
        self, description: Description, model: Dynamics, name: str, sources: Sequence[str], shape: Shape
    ) -> str:
        kind, values, unsupported, metadata = description
        if unsupported and self.on_unsupported == "subgraph":
            return self._add_subtraction(description, model, name, sources, shape)
        if unsupported and self.on_unsupported == "refuse":
            raise NIRError(
                f"NIR cannot express {type(model).__name__}: {' and '.join(unsupported)}; use another model, or pass "
                'on_unsupported="metadata", with which other programs run another neuron'
            )
        return self.add(name, make_node(kind, values, shape, metadata), sources, shape)

    def _add_subtraction(
        self, description: Description, model: Any, name: str, sources: Sequence[str], shape: Shape
    ) -> str:
        """Add a neuron with reset by subtraction as leaky integrator, threshold and feedback."""
        kind, values, unsupported, metadata = description
        resets = type(getattr(model, "reset_mechanism", None)) is ResetBySubtraction
        if not resets or len(unsupported) > 1 or kind not in ("IF", "LIF") or isinstance(model.surrogate, MultiSpike):
            raise NIRError(
                f"no subgraph is equivalent to {type(model).__name__}: {' and '.join(unsupported)}; reset by "
                "subtraction of neurons without a synaptic current has one"
            )
        # The potential decays by `decay` in a step, and an input of 1 adds `gain`: both from the integrator itself.
        zero = torch.zeros(shape, dtype=torch.float64)
        twin = type(model)(
            **{key: value.double() for key, value in model.declared_parameters().items()},
            dt=model.dt,
            **({"integrator": model.integrator} if hasattr(model, "integrator") else {}),
        ).double()
        high = torch.full_like(zero, 1e6)
        twin.v_th = high
        state = twin.initial_state(zero)

        def advance(x: Tensor, v: Tensor) -> Tensor:
            return twin(x[None], state._replace(v=v))[1].v

        with torch.no_grad():
            rest = advance(zero, zero)
            decay, gain = advance(zero, zero + 1) - rest, advance(zero + 1, zero) - rest
            scale = -(twin.declared_parameters()["v_reset"] * 0 + model.v_th.double() - model.v_reset.double())
            scale = scale * decay / gain
        nir = import_nir()
        leaky = {"IF": "I", "LIF": "LI"}[kind]
        settings = {key: metadata[key] for key in ("geir_dt", "geir_integrator") if key in metadata}
        settings = {"geir_model": f"{leaky}Node", "geir_integrator": "Euler"} | settings
        kept = {key: value for key, value in values.items() if key not in ("v_th", "v_reset")}
        potential = self.add(f"{name}.v", make_node(leaky, kept, shape, settings), sources, shape)
        threshold = np.broadcast_to(to_numpy(values["v_th"]), shape).copy()
        spikes = self.add(f"{name}.z", nir.Threshold(threshold=threshold), [potential], shape)
        dtype = to_numpy(values["v_th"]).dtype
        factors = scale.expand(shape).numpy().astype(dtype)
        feedback = self.add(f"{name}.reset", nir.Scale(scale=factors), [spikes], shape)
        self.edges.append((feedback, potential))
        return spikes

    def _convert_recurrent(self, module: Any, path: str, source: str) -> str:
        """Add input weights, neurons and recurrent weights, whose output is the input of the next step."""
        weights = module.input_weights
        entry = (
            self.convert(weights, f"{path}.w_in", source)
            if isinstance(weights, nn.Module)
            else self._add_matrix(weights, f"{path}.w_in", source)
        )
        spikes = self._add_neuron(module, f"{path}.lif", [entry], self.shapes[entry])
        # The first node of a subgraph is where input enters.
        target = next(target for origin, target in self.edges if origin == entry)
        weights = module.recurrent_weights
        back = (
            self.convert(weights, f"{path}.w_rec", spikes)
            if isinstance(weights, nn.Module)
            else self._add_matrix(module._mask_autapses(weights), f"{path}.w_rec", spikes)
        )
        self.edges.append((back, target))
        return spikes

    def _add_matrix(self, weights: Tensor, name: str, source: str) -> str:
        return self.add(name, import_nir().Linear(weight=to_numpy(weights)), [source], self.shapes[source])

    def _convert_feedback(self, module: RecurrentSequential, path: str, source: str) -> str:
        count = len(module.modules_in_sequence)
        if module.output_modules not in (-1, count - 1):
            raise NIRError("RecurrentSequential with output_modules other than the last cannot be written")
        before = len(self.edges)
        last = self.convert(module.modules_in_sequence, path, source)
        if last == source:
            raise NIRError("RecurrentSequential has no module")
        first = next(target for origin, target in self.edges[before:] if origin == source)
        self.edges.append((last, first))
        # Without a state there is no feedback in the first step.
        self.metadata["geir_initial_feedback"] = 0
        return last

    def convert_network(self, network: NIRNetwork) -> Graph:
        """Add the nodes of a network made by `from_nir`, under their names; inner graphs are dissolved."""
        graph = network.graph
        nir = import_nir()
        ends = {name for name in graph.nodes if graph.kind(name) in ("Input", "Output")}
        dissolved = {name for name in ends if name not in graph.inputs and name not in graph.outputs}
        for name, node in graph.nodes.items():
            if name in dissolved:
                continue
            shape, layer = network.input_shapes[name], network[name]
            if name in ends:
                is_input = graph.kind(name) == "Input"
                made = nir.Input(input_type={"input": np.array(shape)}) if is_input else _output(shape)
                self.add(name, made, [], shape)
            elif isinstance(layer, Dynamics):
                with errors_of(node=name):
                    self._add_description(describe(layer), layer, name, [], shape)
            else:
                self.add(name, stateless_node(layer, shape, name), [], shape)
            if name in self.nodes:
                foreign = {key: value for key, value in node.metadata.items() if not key.startswith("geir_")}
                self.nodes[name].metadata = foreign | self.nodes[name].metadata
        self.edges += _dissolve(graph.edges, dissolved)
        for name in graph.inputs:
            if name not in ends:
                shape = network.input_shapes[name]
                made = nir.Input(input_type={"input": np.array(shape)})
                self.edges.append((self.add(f"{name}.input", made, [], shape), name))
        for name in graph.outputs:
            if name not in ends:
                shape = network.output_shapes[name]
                self.add(f"{name}.output", _output(shape), [name], shape)
        self.metadata["geir_initial_feedback"] = int(network.discretization.initial_feedback)
        self.dt = network.dt
        return self.graph()


def _dissolve(edges: Sequence[tuple[str, str]], dissolved: set[str]) -> list[tuple[str, str]]:
    """The edges without these nodes, which pass their input on."""
    found = list(edges)
    for name in dissolved:
        sources = [a for a, b in found if b == name]
        targets = [b for a, b in found if a == name]
        found = [edge for edge in found if name not in edge] + [(a, b) for a in sources for b in targets]
    return found
