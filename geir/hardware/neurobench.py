"""Networks of geir in the harness of NeuroBench."""

from typing import Any

import torch
from torch import nn, Tensor

from .._util.recording import Call, record_calls
from .._util.state import leaves
from ..core.neuron import Dynamics
from ..measures.operations import Product, products
from ..wrappers import CellMixin
from ._layers import plain_copy


def neurobench_model(model: nn.Module) -> Any:
    """Wrap a network over time for `neurobench.benchmarks.Benchmark`. Needs the extra `neurobench`.

    The harness looks for layers and neurons of PyTorch and snnTorch. In a network of geir it does not find the neurons
    and the recurrent weights, so that its metrics `ActivationSparsity`, `MembraneUpdates` and the recurrent part of
    `SynapticOperations` are 0.0 without an error. The wrapper gives it what it looks for: the input and weight of
    each connection, recurrent ones included, and the spikes and potentials of each layer of neurons.

    Data come as (batch, time, ...), as the harness has it; so do the predictions. `SynapticOperations` counts in
    float64, so that large counts are exact. `NeuronOperations` is defined by a table of the neurons of snnTorch, and
    stays 0.0.

    Reference: J. Yik et al., *The neurobench framework for benchmarking neuromorphic computing algorithms and
    systems*, 2025.

    Args:
        model: A network over time, such as a `geir.SequentialState`, called in evaluation mode.

    Returns:
        A `neurobench.models.NeuroBenchModel`.

    Raises:
        ImportError: If `neurobench` is not installed.
        TypeError: When it is run, if a connection is of a kind that the harness would count as 0.
    """
    try:
        # An optional package.
        from neurobench.blocks.layer import STATELESS_LAYERS  # pyright: ignore[reportMissingImports]
        from neurobench.models import NeuroBenchModel  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            f"neurobench_model needs the package neurobench ({error}): pip install 'geir[neurobench]'."
        ) from error

    class GeirModel(NeuroBenchModel):
        def __init__(self) -> None:
            super().__init__()
            self.net = model.eval()
            self.recording = False

        def __call__(self, batch: Tensor) -> Tensor:
            xs = batch.transpose(0, 1)
            if not self.recording:
                return _output(self.net(xs)).transpose(0, 1)
            recorder = _Recorder(STATELESS_LAYERS)
            neurons = [module for module in self.net.modules() if isinstance(module, Dynamics)]
            recording = [module for module in neurons if not isinstance(module, CellMixin) and not module.record_states]
            for module in recording:
                module.record_states = True
            try:
                with torch.no_grad(), record_calls(self.net, recorder.add_call):
                    ys = _output(self.net(xs))
            finally:
                for module in recording:
                    module.record_states = False
            self.connection_hooks = list(recorder.connections.values())
            self.activation_hooks = list(recorder.neurons.values())
            return ys.transpose(0, 1)

        def __net__(self) -> nn.Module:
            return self.net

        def register_hooks(self) -> None:
            self.recording = True

        def cleanup_hooks(self) -> None:
            self.recording = False
            super().cleanup_hooks()

    return GeirModel()


def _output(result: Any) -> Tensor:
    return result[0] if isinstance(result, tuple) else result


class _Hook:
    """A hook as the NeuroBench harness expects it, filled by the recorder."""

    def __init__(self, layer: nn.Module):
        self.layer = layer
        self.inputs: list[tuple[Tensor]] = []
        self.hook = self

    def remove(self) -> None: ...

    def register_hook(self) -> None: ...

    def reset(self) -> None:
        self.inputs.clear()

    def close(self) -> None: ...


class _NeuronHook(_Hook):
    """The same for neurons."""

    def __init__(self, layer: nn.Module, name: str):
        super().__init__(layer)
        self.name = name
        self.spiking = True
        self.activation_outputs: list[Tensor] = []
        self.pre_fire_mem_potential: list[Tensor] = []
        self.post_fire_mem_potential: list[Tensor] = []

    def reset(self) -> None:
        self.activation_outputs.clear()
        self.pre_fire_mem_potential.clear()
        self.post_fire_mem_potential.clear()


class _Recorder:
    """Collects the connections and neurons of one batch."""

    def __init__(self, supported: tuple[type[nn.Module], ...]):
        self.supported = supported
        self.connections: dict[str, _Hook] = {}
        self.neurons: dict[str, _NeuronHook] = {}

    def add_call(self, call: Call) -> None:
        for product in products(call):
            hook = self.connections.get(product.name)
            if hook is None:
                hook = self.connections[product.name] = _Hook(self._layer(call, product))
            hook.inputs.append((product.x.double(),))
        if isinstance(call.module, Dynamics) and call.module.spiking:
            self._add_neurons(call.name, call.module, *call.result)

    def _layer(self, call: Call, product: Product) -> nn.Module:
        """A module with the weight of a product that the harness can count."""
        if isinstance(call.module, self.supported):
            return plain_copy(call.module).double()
        if isinstance(call.module, Dynamics):
            # A recurrent neuron holds two matrices.
            layer = nn.Linear(*reversed(product.weight.shape), bias=False, dtype=torch.float64)
            layer.weight = nn.Parameter(product.weight.double())
            return layer
        raise TypeError(
            f"NeuroBench cannot count {product.name} ({type(call.module).__name__}) and would report 0 operations; use "
            "geir.hardware.count."
        )

    def _add_neurons(self, name: str, module: Dynamics, zs: Tensor, states: tuple[object, ...]) -> None:
        hook = self.neurons.get(name)
        if hook is None:
            hook = self.neurons[name] = _NeuronHook(module, name)
        hook.activation_outputs.append(zs)
        potential = next((part for key, part in leaves(states) if key.split(".")[-1] == "v"), None)
        if potential is None:
            return
        after = [potential] if isinstance(module, CellMixin) else list(potential)
        # The harness compares the potentials before and after each step, and counts all neurons in the first one.
        before = hook.post_fire_mem_potential[-1:] or after[:1]
        hook.pre_fire_mem_potential += [*before, *after[:-1]]
        hook.post_fire_mem_potential += after
