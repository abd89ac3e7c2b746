"""Count the synaptic operations of a network."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor
from torch.nn import functional

from .._runtime.stepper import DelayedConnection, SynapticConnection
from .._util.parametrized import call_with, without_parametrizations
from .._util.precision import widen
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


def record_operations(model: nn.Module, *inputs: Any) -> tuple[Any, dict[str, Tensor]]:
    """Run a network and record its synaptic operations, with gradients, for a loss.

    The numbers are those of `count_operations`; their gradient with respect to a spike is the number of synapses that
    it reaches. So a penalty on them makes those neurons fire less that have many targets.

    Reference: M. Sorbaro, Q. Liu, M. Bortone & S. Sheik, *Optimizing the energy consumption of spiking neural networks
    for neuromorphic applications*, 2020.

    Args:
        model: Any module.
        *inputs: Arguments of the call, such as spikes and a state.

    Returns:
        The result of the call, and the synaptic operations of each connection by its name, scalars, summed over batch
        and time.

    Raises:
        TypeError: If a module has weights whose operations are not known, such as `torch.nn.LSTM`.

    >>> import geir
    >>> model = geir.SequentialState(nn.Linear(5, 8), geir.LIF(), nn.Linear(8, 2), geir.LI(), lift=True)
    >>> (vs, state), synops = record_operations(model, torch.ones(50, 1, 5))
    >>> synops["0"]
    tensor(2000.)
    >>> (1e-3 * sum(synops.values())).backward()
    """
    counts: dict[str, Tensor] = {}

    def add_call(call: Call) -> None:
        for product in products(call):
            new = synaptic_operations(product)
            counts[product.name] = counts[product.name] + new if product.name in counts else new

    with record_calls(model, add_call):
        result = model(*inputs)
    return result, counts


def synaptic_operations(product: Product) -> Tensor:
    """The synaptic operations of one product, with their gradient."""
    events = count_events(product.x)
    synapses = (product.weight != 0).to(events.dtype)
    # The sum is rounded once. Sums of float32 numbers are exact up to 2^24 only.
    return product.multiply(events, synapses).sum(dtype=torch.float64).to(events.dtype)


def count_events(x: Tensor) -> Tensor:
    """1 where the input is not zero, else 0, with the gradient of its absolute value."""
    size = widen(x).abs()
    return (x != 0).to(size.dtype) + (size - size.detach())


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
    bias = torch.zeros_like(tensors["bias"]) if "bias" in tensors else None
    multiply = partial(_call_with_weight, call.module, bias)
    return Product(call.name, call.arguments[0], tensors["weight"], multiply)


def _call_with_weight(module: nn.Module, bias: Tensor | None, x: Tensor, weight: Tensor) -> Tensor:
    others = {} if bias is None else {"bias": bias.to(weight.dtype)}
    return call_with(module, {"weight": weight} | others, x)


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The module's parameters and buffers, without those of its submodules; parametrized ones as they are used."""
    plain = without_parametrizations(module)
    tensors = {name: value for name, value in plain._parameters.items() if value is not None}
    return tensors | dict(plain.named_buffers(recurse=False, remove_duplicate=False))


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
