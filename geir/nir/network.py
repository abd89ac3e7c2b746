"""NIR graphs as modules over time."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from .._util.state import state_type
from ..connections import Delay
from ..connections.delay import DelayState
from ..containers import SequentialState
from ..containers.lift import is_stateful
from ._graph import Block, FlatGraph
from ._shapes import Shape
from .discretizations import Discretization
from .errors import errors_of, NIRError

# One tensor, or one for each Input or Output node by its name.
Values = Tensor | Mapping[str, Tensor]


@state_type
class NIRState(NamedTuple):
    """State of a `NIRNetwork`."""

    nodes: dict[str, Any]  # states of stateful nodes by name
    feedback: dict[str, Tensor]  # last outputs of nodes that are fed back, by name


class NIRNetwork(nn.Module):
    """A NIR graph as a module over time; `from_nir` makes it.

    Nodes that are not part of a cycle run over all time steps at once, one after the other. The nodes of a cycle are
    stepped together; edges that lead back take one step. Where input enters a cycle, its first node is evaluated
    first. A cycle through a `Delay` of at least one step takes that delay and no more.

    ``network["name"]`` is the module of a node.
    """

    def __init__(
        self,
        graph: FlatGraph,
        blocks: list[Block],
        layers: Mapping[str, nn.Module],
        shapes: tuple[Mapping[str, Shape], Mapping[str, Shape]],
        dt: float,
        discretization: Discretization,
    ):
        super().__init__()
        self.graph, self.blocks = graph, blocks
        self.input_shapes, self.output_shapes = shapes
        self.dt, self.discretization = dt, discretization
        self.layers = nn.ModuleDict()
        self._keys: dict[str, str] = {}
        for name, layer in layers.items():
            key = name.replace(".", "/") or "/"
            while hasattr(self.layers, key):  # such as "type", which is an attribute of modules
                key += "_"
            self._keys[name] = key
            self.layers[key] = layer

    def __getitem__(self, name: str) -> nn.Module:
        """The module of a node.

        Raises:
            KeyError: If there is no such node.
        """
        if name not in self._keys:
            raise KeyError(f"there is no node {name!r}; there are {', '.join(map(repr, self._keys))}")
        return self.layers[self._keys[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def sequential(self) -> SequentialState:
        """The modules in sequence, if the graph is a chain: what `geir.hardware.quantize` and others take.

        The modules are shared, not copied.

        Raises:
            NIRError: If a node has several inputs or outputs, or is part of a cycle.
        """
        for block in self.blocks:
            for name in block.names:
                sources, readers = self.graph.before[name], [key for key in self if name in self.graph.before[key]]
                if block.is_cycle or len(sources) > 1 or len(readers) > 1:
                    reason = "is part of a cycle" if block.is_cycle else "has several inputs or outputs"
                    raise NIRError(f"the graph is no chain: the node {reason}", node=name)
        order = (self._keys[name] for block in self.blocks for name in block.names)
        chain = OrderedDict((key, self.layers[key]) for key in order if not isinstance(self.layers[key], nn.Identity))
        return SequentialState(chain, lift=True)

    def forward(self, xs: Values, state: NIRState | None = None) -> tuple[Any, NIRState]:
        """Run over time.

        Args:
            xs: Input, shape (time, ..., *shape of the Input node), with any number of batch dimensions; a dictionary
                by the names of the Input nodes if there are several.
            state: State to continue from. Default: at rest.

        Returns:
            Output, shape (time, ..., *shape of the Output node), a dictionary by name if there are several Output
            nodes; and the state after the last step.

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or not a dictionary of them where it must be.
            ValueError: If an input does not have the shape of its node, or inputs differ in time and batch.
        """
        values = self._check_input(xs)
        if state is not None and not isinstance(state, NIRState):
            raise TypeError(f"NIRNetwork expected a NIRState as its state, got {type(state).__name__}.")
        states = {} if state is None else dict(state.nodes)
        feedback = {} if state is None else dict(state.feedback)
        for block in self.blocks:
            if block.is_cycle:
                self._run_cycle(block, values, states, feedback)
            else:
                (name,) = block.names
                x = values[name] if name in values else self._sum_inputs(name, values)
                values[name] = self._run_node(name, x, states)
        outputs = {name: values[name] for name in self.graph.outputs}
        result = next(iter(outputs.values())) if len(outputs) == 1 else outputs
        return result, NIRState(states, feedback)

    def _check_input(self, xs: Values) -> dict[str, Tensor]:
        names = self.graph.inputs
        if isinstance(xs, Tensor):
            if len(names) != 1:
                raise TypeError(f"NIRNetwork has the inputs {', '.join(names)}; pass a dictionary, got a tensor.")
            xs = {names[0]: xs}
        if not isinstance(xs, Mapping) or set(xs) != set(names):
            given = f"a dictionary with {', '.join(map(str, xs))}" if isinstance(xs, Mapping) else type(xs).__name__
            raise TypeError(f"NIRNetwork expected a tensor for each of its inputs, {', '.join(names)}, got {given}.")
        leading = None
        for name in names:
            x, shape = xs[name], self.input_shapes[name]
            if not isinstance(x, Tensor) or not x.is_floating_point():
                given = x.dtype if isinstance(x, Tensor) else type(x).__name__
                raise TypeError(f"NIRNetwork expected floating-point input for {name!r}, got {given}.")
            if x.dim() <= len(shape) or tuple(x.shape[x.dim() - len(shape) :]) != shape:
                raise ValueError(
                    f"NIRNetwork expected input of shape (time, ..., {', '.join(map(str, shape))}) for {name!r}, got "
                    f"{tuple(x.shape)}."
                )
            own = x.shape[: x.dim() - len(shape)]
            if leading is not None and own != leading:
                raise ValueError(f"NIRNetwork got inputs that differ in time or batch: {tuple(leading)}, {tuple(own)}.")
            leading = own
        return {name: xs[name] for name in names}

    def _sum_inputs(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        first, *others = (values[source] for source in self.graph.before[name] if source in values)
        for other in others:
            first = first + other
        return first

    def _run_node(self, name: str, xs: Tensor, states: dict[str, Any]) -> Tensor:
        """Run a node over time, and replace its state."""
        layer, shape = self[name], self.input_shapes[name]
        with errors_of(node=name):
            if is_stateful(layer):
                ys, states[name] = layer(xs, states.get(name))
                return ys
            if isinstance(layer, nn.Identity):
                return xs
            leading = xs.shape[: xs.dim() - len(shape)]
            return layer(xs.reshape(-1, *shape)).reshape(*leading, *self.output_shapes[name])

    def _run_cycle(
        self, block: Block, values: dict[str, Tensor], states: dict[str, Any], feedback: dict[str, Tensor]
    ) -> None:
        """Step the nodes of a cycle through time, and add their outputs to `values`."""
        members = set(block.names)
        outside = {
            name: self._sum_inputs(name, values).unbind(0)
            for name in block.names
            if any(source in values for source in self.graph.before[name])
        }
        sources = sorted({source for source, _ in block.back})
        template = next(iter(values.values()))
        some = next(iter(self.graph.inputs))
        steps, leading = len(template), values[some].shape[1 : values[some].dim() - len(self.input_shapes[some])]
        inner = {
            name: [(source, (source, name) in block.back) for source in self.graph.before[name] if source in members]
            for name in block.names
        }
        if any(source not in feedback for source in sources):
            feedback |= self._initial_feedback(block, inner, sources, template.new_zeros(leading))
        # Delays of at least one step, whose outputs are known before their inputs.
        holding = [name for name in block.names if self._holds(name)]
        recorded: dict[str, list[Tensor]] = {name: [] for name in block.names}
        for step in range(steps):
            now: dict[str, Tensor] = {}
            for name in holding:
                now[name], states[name] = self._read_delay(name, states.get(name), template.new_zeros(leading))
            for name in block.names:
                if name not in now:
                    x = self._gather(name, step, outside, inner, now, feedback)
                    now[name] = self._run_node(name, x[None], states)[0]
            for name in holding:
                x = self._gather(name, step, outside, inner, now, feedback)
                states[name] = DelayState(torch.cat([states[name].past[1:], x[None]]))
            feedback |= {source: now[source] for source in sources}
            for name, value in now.items():
                recorded[name].append(value)
        for name, outputs in recorded.items():
            shape = (0, *leading, *self.output_shapes[name])
            values[name] = torch.stack(outputs) if outputs else template.new_zeros(shape)

    @staticmethod
    def _gather(
        name: str,
        step: int,
        outside: Mapping[str, tuple[Tensor, ...]],
        inner: Mapping[str, list[tuple[str, bool]]],
        now: Mapping[str, Tensor],
        feedback: Mapping[str, Tensor],
    ) -> Tensor:
        """The input of a node in a cycle: from outside, from the cycle in this step, and from the step before."""
        parts = [outside[name][step]] if name in outside else []
        parts += [feedback[source] if is_back else now[source] for source, is_back in inner[name]]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def _holds(self, name: str) -> bool:
        layer = self[name]
        return isinstance(layer, Delay) and holds(layer)

    def _read_delay(self, name: str, state: DelayState | None, like: Tensor) -> tuple[Tensor, DelayState]:
        """The output of a delay of at least one step before its input is known, and its state."""
        layer = self[name]
        assert isinstance(layer, Delay)
        silent = like.new_zeros(*like.shape, *self.input_shapes[name])
        state = layer.initial_state(silent) if state is None else state
        ys, _ = layer(silent[None], state)
        return ys[0], state

    def _initial_feedback(
        self, block: Block, inner: Mapping[str, list[tuple[str, bool]]], sources: list[str], like: Tensor
    ) -> dict[str, Tensor]:
        """The feedback of the first step: the output of stateless nodes without input, or zeros."""
        quiet: dict[str, Tensor] = {}
        for name in block.names:
            if not self.discretization.initial_feedback or is_stateful(self[name]):
                quiet[name] = like.new_zeros(*like.shape, *self.output_shapes[name])
                continue
            x = like.new_zeros(*like.shape, *self.input_shapes[name])
            for source, is_back in inner[name]:
                x = x if is_back else x + quiet[source]
            quiet[name] = self._run_node(name, x[None], {})[0]
        return {source: quiet[source] for source in sources}

    def extra_repr(self) -> str:
        return f"dt={self.dt:g}, discretization={self.discretization}"


def holds(delay: Delay) -> bool:
    """Whether every delay takes at least one step, so that the output does not depend on the present input."""
    return bool((delay.delay > 0.5 * delay.dt).all())
