"""Count the synaptic operations of a network."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor
from torch.func import functional_call
from torch.nn import functional

from .._runtime.stepper import DelayedConnection, SynapticConnection
from .._util.recording import Call, record_calls
from ..core.neuron import Dynamics
from ..wrappers import CellMixin, RecurrentMixin


class OperationCounts(NamedTuple):
    """Numbers of operations of one connection, summed over batch and time."""

    events: int  # inputs that are not zero
    synops: int  # synaptic operations: for each event, one per synapse that it reaches
    macs: int  # multiply-accumulates of the dense product


class Product(NamedTuple):
    """The product of a connection's input and its weight."""

    name: str
    x: Tensor
    weight: Tensor
    multiply: Callable[[Tensor, Tensor], Tensor]


def count_operations(model: nn.Module, *inputs: Any) -> dict[str, OperationCounts]:
    """Run a network once and count the synaptic operations of each of its connections.

    A connection is a module with one `weight` of at least two dimensions in which it is linear, such as
    `torch.nn.Linear`, a convolution or a transposed convolution. The weights of recurrent neurons are connections too:
    ``hidden.input_weights`` and ``hidden.recurrent_weights``. The fan-out of every spike is exact, including at the
    borders of convolutions. Weights of zero are not synapses, and biases are not counted.

    Args:
        model: Any module. Call ``model.eval()`` first, unless you want to count a training step.
        *inputs: Arguments of the call, such as spikes and a state.

    Returns:
        The counts of each connection by its name.

    Raises:
        TypeError: If a module has weights whose operations are not known, such as `torch.nn.LSTM`.

    >>> model = nn.Sequential(nn.Linear(3, 10))
    >>> count_operations(model, torch.tensor([[0.0, 1.0, 1.0]]))
    {'0': OperationCounts(events=2, synops=20, macs=30)}
    """
    counts: dict[str, OperationCounts] = {}

    def add_call(call: Call) -> None:
        for product in products(call):
            new = count_product(product)
            old = counts.get(product.name, OperationCounts(0, 0, 0))
            counts[product.name] = OperationCounts(
                old.events + new.events, old.synops + new.synops, old.macs + new.macs
            )

    with torch.no_grad(), record_calls(model, add_call):
        model(*inputs)
    return counts


def count_product(product: Product) -> OperationCounts:
    """Count the operations of one product."""
    # With ones in place of spikes and weights, the product itself counts. Integers are exact in float64.
    events = (product.x != 0).double()
    synapses = (product.weight != 0).double()
    synops = product.multiply(events, synapses).sum()
    macs = product.multiply(torch.ones_like(events), torch.ones_like(synapses)).sum()
    return OperationCounts(round(events.sum().item()), round(synops.item()), round(macs.item()))


def products(call: Call) -> Iterator[Product]:
    """The products of inputs and weights in one call of a module.

    Raises:
        TypeError: If the module has weights whose operations are not known.
    """
    if isinstance(call.module, RecurrentMixin):
        yield from _recurrent_products(call.module, call)
    elif _is_connection(call):
        yield _connection_product(call)


def _is_connection(call: Call) -> bool:
    """Whether the module multiplies its input by a weight.

    Raises:
        TypeError: If it has weights whose operations are not known.
    """
    module = call.module
    name = call.name or "the model"
    kind = type(module).__name__
    if isinstance(module, Dynamics) and any(isinstance(part, RecurrentMixin) for part in module.modules()):
        raise TypeError(
            f"measures.count_operations cannot see the recurrent weights inside {name} ({kind}); "
            "make the outermost module recurrent instead, with Recurrent(...)."
        )
    if isinstance(module, DelayedConnection) and isinstance(module, SynapticConnection):
        raise TypeError(f"measures.count_operations cannot count the operations of {name} ({kind}), which has delays.")
    matrices = [key for key, tensor in _own_tensors(module).items() if tensor.dim() >= 2]
    if isinstance(module, SynapticConnection):
        matrices = ["weight"]  # a vector
    if not matrices or isinstance(module, Dynamics | nn.LayerNorm | nn.RMSNorm):
        return False
    takes_values = (
        len(call.arguments) == 1 and isinstance(call.arguments[0], Tensor) and call.arguments[0].is_floating_point()
    )
    if "weight" not in matrices or not takes_values:
        raise TypeError(
            "measures.count_operations supports modules with one `weight` that multiplies a floating-point input, "
            f"but {name} ({kind}) has {', '.join(matrices)}."
        )
    return True


def _connection_product(call: Call) -> Product:
    tensors = _own_tensors(call.module)
    # The bias must have the dtype of the counts, and must not be counted.
    bias = {"bias": torch.zeros_like(tensors["bias"], dtype=torch.float64)} if "bias" in tensors else {}
    multiply = partial(_call_with_weight, call.module, bias)
    return Product(call.name, call.arguments[0], tensors["weight"], multiply)


def _call_with_weight(module: nn.Module, others: dict[str, Tensor], x: Tensor, weight: Tensor) -> Tensor:
    return functional_call(module, {"weight": weight} | others, x)


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The module's parameters and buffers, without those of its submodules."""
    tensors = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    return tensors | dict(module.named_buffers(recurse=False, remove_duplicate=False))


def _recurrent_products(module: RecurrentMixin, call: Call) -> Iterator[Product]:
    """Products with the weights of a recurrent neuron. Weights that are modules are recorded as separate calls."""
    prefix = f"{call.name}." if call.name else ""
    given = call.arguments[0]
    state = call.arguments[1] if len(call.arguments) > 1 else None
    xs = given[0] if isinstance(given, tuple) else given
    if isinstance(module.input_weights, Tensor):
        yield Product(f"{prefix}input_weights", xs, module.input_weights, functional.linear)
    weights = module.recurrent_weights
    if isinstance(weights, Tensor):
        if not module.autapses:
            weights = weights.clone().fill_diagonal_(0)
        outputs = call.result[0]
        zs = outputs[None] if isinstance(module, CellMixin) else outputs
        # The input of the recurrent weights is the output of the previous step.
        initial = torch.zeros_like(zs[:1]) if state is None else state.z[None].to(zs.dtype)
        previous = torch.cat([initial, zs])[: len(zs)]
        yield Product(f"{prefix}recurrent_weights", previous, weights, functional.linear)
