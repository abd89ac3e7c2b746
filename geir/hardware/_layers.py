"""A trained network as a list of layers, in the order in which they run."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import fx, nn, Tensor
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from .._util.parametrized import without_hooks, without_parametrizations
from ..core.parameters import Declared
from ._kinds import ACTIVATIONS, Add, ADDITIONS, BATCH_NORMS, CONNECTIONS, CURES, FUNCTIONS, IGNORED, POOLS


@dataclass(frozen=True)
class Layer:
    """One layer of a network: a copy of its module, with batch normalization folded in."""

    name: str  # that of the module, with underscores for dots
    module: nn.Module
    inputs: tuple[str, ...]  # names of the layers that it reads; INPUT for the input of the network


INPUT = ""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Declared) or super().is_leaf_module(m, module_qualified_name)


def read_layers(caller: str, model: nn.Module) -> list[Layer]:
    """The layers of a network, of which the last is its output.

    Batch normalization is folded into the preceding connection; dropout layers are removed.

    Args:
        caller: Name of the calling function, for error messages.
        model: A network without time.

    Raises:
        TypeError: If a layer cannot be converted, or the layers cannot be read from the code of the model.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"{caller} expected a module, got {type(model).__name__}.")
    tracer = _Tracer()
    root = nn.Sequential(model) if tracer.is_leaf_module(model, "") else model
    try:
        with evaluation_mode(root):
            graph = tracer.trace(root)
    except Exception as error:
        raise TypeError(
            f"{caller} cannot read the layers of {type(model).__name__}: {error} Write its forward without control "
            "flow that depends on values, or as a torch.nn.Sequential."
        ) from error
    return _Reader(caller, root, graph).read()


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Inside the context, all modules are in evaluation mode."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def check_output(caller: str, model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Check that the layers compute what the model computes.

    They do not if the model has hooks, or changes values in place that it reads again.

    Args:
        caller: Name of the calling function.
        model: The model.
        x: Inputs.
        y: What its layers make of them.

    Raises:
        ValueError: If the model's output is not the same up to rounding.
    """
    with evaluation_mode(model):
        expected = model(x.clone())
    error = (y - expected).abs().max() / expected.std(correction=0).clamp(min=torch.finfo(y.dtype).tiny)
    if not error < 0.01:
        raise ValueError(
            f"{caller} read layers from the code of the model whose output differs from the model's, by "
            f"{float(error):.2g} of its standard deviation. Remove hooks, and operations that change a value in place "
            "that is used again."
        )


class _Reader:
    """Makes layers of the nodes of a traced graph."""

    def __init__(self, caller: str, root: nn.Module, graph: fx.Graph):
        self.caller = caller
        self.modules = dict(root.named_modules())
        self.graph = graph
        self.layers: dict[str, Layer] = {}
        # The layer whose output each node of the graph stands for.
        self.sources: dict[fx.Node, str] = {}

    def read(self) -> list[Layer]:
        for node in self.graph.nodes:
            if node.op == "placeholder":
                if self.sources:
                    # Arguments with defaults are not needed.
                    if node.users:
                        raise TypeError(f"{self.caller} supports networks with one input, but {node.name} is another.")
                    continue
                self.sources[node] = INPUT
            elif node.op == "output":
                return self._reachable(node.args[0])
            else:
                self.sources[node] = self._add(node)
        raise AssertionError("a graph ends with its output")

    def _reachable(self, result: object) -> list[Layer]:
        if not isinstance(result, fx.Node):
            raise TypeError(f"{self.caller} supports networks with one output, got {type(result).__name__}.")
        last = self.sources[result]
        needed, order = {last}, []
        for layer in reversed(self.layers.values()):
            if layer.name in needed:
                order.append(layer)
                needed.update(layer.inputs)
        return order[::-1]

    def _add(self, node: fx.Node) -> str:
        """Add the layer of a node, and return the name of the layer whose output it stands for."""
        name, module, inputs = self._module(node)
        sources = tuple(self.sources[value] for value in inputs)
        if isinstance(module, IGNORED):
            return sources[0]
        if isinstance(module, BATCH_NORMS):
            return self._fold(name, module, inputs[0])
        self._check(name, module)
        module = plain_copy(module).eval()
        if isinstance(module, nn.ReLU | nn.ReLU6):
            module.inplace = False
        unique, count = name, 1
        while unique in self.layers:
            unique, count = f"{name}_{count}", count + 1
        self.layers[unique] = Layer(unique, module, sources)
        return unique

    def _module(self, node: fx.Node) -> tuple[str, nn.Module, list[fx.Node]]:
        """Name, module and inputs of a node."""
        inputs = [value for value in node.args if isinstance(value, fx.Node)]
        if node.op == "call_module":
            target = str(node.target)
            return target.replace(".", "_"), self.modules[target], list(node.all_input_nodes)
        if node.op == "get_attr":
            raise TypeError(
                f"{self.caller} cannot convert the use of {node.target} in the forward of the model; use it in a "
                "module such as torch.nn.Linear."
            )
        target = node.target
        name = getattr(target, "__name__", str(target))
        if target in ADDITIONS and len(inputs) == 2 and not node.kwargs:
            return node.name, Add(), inputs
        make = FUNCTIONS.get(target)
        if make is None or len(inputs) != 1 or node.args[0] is not inputs[0]:
            supported = "relu, flatten, avg_pool2d, adaptive_avg_pool2d, dropout and the addition of two layers"
            raise TypeError(
                f"{self.caller} cannot convert {name} in the forward of the model; it supports modules, and the "
                f"functions {supported}."
            )
        return node.name, make(*node.args[1:], **node.kwargs), inputs

    def _check(self, name: str, module: nn.Module) -> None:
        kind = type(module).__name__
        for base in (*CONNECTIONS, *ACTIVATIONS, *POOLS, nn.Flatten, Add):
            # A subclass may do anything in its forward.
            if isinstance(module, base) and type(module).forward is base.forward:
                if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
                    raise TypeError(
                        f"{self.caller} cannot convert {name} ({module}): flatten all dimensions but the batch, "
                        "start_dim=1."
                    )
                return
        for kinds, cure in CURES:
            if isinstance(module, kinds):
                raise TypeError(f"{self.caller} cannot convert {name} ({kind}): {cure}.")
        raise TypeError(
            f"{self.caller} cannot convert {name} ({kind}); it supports Linear, Conv1d to Conv3d, BatchNorm, ReLU, "
            "QCFS, average pooling, Flatten, Dropout and the addition of two layers."
        )

    def _fold(self, name: str, norm: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d, before: fx.Node) -> str:
        """Fold batch normalization into the layer before it."""
        layer = self.layers.get(self.sources[before])
        kind = type(norm).__name__
        if norm.running_mean is None:
            raise TypeError(
                f"{self.caller} cannot fold {name} ({kind}), which has no running statistics; build it with "
                "track_running_stats=True."
            )
        before_norm = None if layer is None or len(before.users) > 1 else layer.module
        if layer is None or not isinstance(before_norm, CONNECTIONS):
            raise TypeError(
                f"{self.caller} folds batch normalization into the connection before it, but {name} ({kind}) does "
                "not directly follow a Linear or Conv layer that it alone reads; move it there and train again."
            )
        norm = copy.deepcopy(norm).eval()
        if isinstance(before_norm, nn.Linear):
            module = fuse_linear_bn_eval(before_norm, norm)
        else:
            module = fuse_conv_bn_eval(before_norm, norm)
        self.layers[layer.name] = Layer(layer.name, module, layer.inputs)
        return layer.name


def plain_copy(module: nn.Module) -> nn.Module:
    """A copy of a module without hooks, in which parametrized weights are plain parameters."""
    plain = without_parametrizations(module)
    twin = object.__new__(type(plain))
    parameters = {
        name: value if value is None else nn.Parameter(value.detach(), value.requires_grad)
        for name, value in plain._parameters.items()
    }
    twin.__dict__ = vars(plain) | without_hooks(plain) | {"_parameters": parameters}
    return copy.deepcopy(twin)


def check_layers_spike(caller: str, layers: Sequence[Layer]) -> None:
    """Check that there is an activation.

    Raises:
        ValueError: If no layer is an activation.
    """
    if not any(isinstance(layer.module, ACTIVATIONS) for layer in layers):
        raise ValueError(
            f"{caller} found no activation in the model, so nothing would spike; it needs torch.nn.ReLU or "
            "geir.hardware.QCFS modules between its layers."
        )
