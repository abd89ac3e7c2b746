"""What a network spends on spikes."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor
from torch.func import functional_call
from torch.nn import functional

from .._util.recording import record_calls
from .._util.state import tensors_of
from ..core.neuron import Dynamics
from ..wrappers import CellMixin, RecurrentMixin


class Operations(NamedTuple):
    """What a layer's connections had to do."""

    events: int  # inputs that were not zero
    synops: int  # synaptic operations: for each event one at every synapse that it reaches
    macs: int  # multiply-accumulates of the dense product


def synaptic_operations(model: nn.Module, *inputs: Any) -> dict[str, Operations]:
    """Count what spikes cost: run a network once and count, for each of its connections, the synapses that its input reached.

    The fan-out of every spike is exact, at the borders of convolutions too. A weight of zero is no synapse. Connections are all modules
    that have one `weight` of at least two dimensions in which they are linear, such as `torch.nn.Linear`, convolutions and their
    transposes, and the weights of recurrent neurons, ``hidden.input_weights`` and ``hidden.recurrent_weights``. Biases are not counted.

    Args:
        model: Any module; in evaluation mode, unless training is meant to be counted.
        *inputs: What to call it with, such as spikes and a state.

    Returns:
        The operations of each connection by name, summed over batch and time.

    Raises:
        TypeError: If a module has weights of another kind, such as `torch.nn.LSTM`, whose operations are not known.

    >>> model = nn.Sequential(nn.Linear(3, 10))
    >>> synaptic_operations(model, torch.tensor([[0.0, 1.0, 1.0]]))
    {'0': Operations(events=2, synops=20, macs=30)}
    """
    counted: dict[str, Operations] = {}

    def count(name: str, x: Tensor, weights: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> None:
        # With ones for spikes and weights, a product counts. Whole numbers are exact in float64.
        spikes, synapses = (x != 0).double(), (weights != 0).double()
        dense = product(torch.ones_like(spikes), torch.ones_like(synapses))
        new = (spikes.sum(), product(spikes, synapses).sum(), dense.sum())
        counted[name] = Operations(
            *(old + round(more.item()) for old, more in zip(counted.get(name, (0, 0, 0)), new, strict=True))
        )

    def see(name: str, module: nn.Module, arguments: tuple[Any, ...], result: Any) -> None:
        if isinstance(module, RecurrentMixin):
            for own, x, weights in _recurrent_connections(module, arguments, result):
                count(f"{name}.{own}".lstrip("."), x, weights, functional.linear)
        elif _is_connection(name, module, arguments):
            own = tensors_of(module)
            silent = {"bias": torch.zeros_like(own["bias"], dtype=torch.float64)} if "bias" in own else {}
            count(
                name,
                arguments[0],
                own["weight"],
                lambda x, weight: functional_call(module, {"weight": weight} | silent, x),
            )

    with torch.no_grad(), record_calls(model, see):
        model(*inputs)
    return counted


def _is_connection(name: str, module: nn.Module, arguments: tuple[Any, ...]) -> bool:
    own = (*module._parameters.items(), *module._buffers.items())
    large = [key for key, tensor in own if tensor is not None and tensor.dim() >= 2]
    if isinstance(module, Dynamics) and any(isinstance(part, RecurrentMixin) for part in module.modules()):
        raise TypeError(
            f"synaptic_operations cannot see the weights that {name or 'the model'}, a {type(module).__name__}, wraps; wrap it in Recurrent."
        )
    if not large or isinstance(module, Dynamics | nn.LayerNorm | nn.RMSNorm):
        return False
    takes_spikes = len(arguments) == 1 and isinstance(arguments[0], Tensor) and arguments[0].is_floating_point()
    if "weight" not in large or not takes_spikes:
        raise TypeError(
            f"synaptic_operations knows modules with one `weight` that multiplies floating-point input, "
            f"but {name or 'the model'} is a {type(module).__name__} with {', '.join(large)}."
        )
    return True


def _recurrent_connections(
    module: RecurrentMixin, arguments: tuple[Any, ...], result: Any
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Those of a recurrent neuron that are tensors, with their input; one that is a module is seen when it is called."""
    arriving, state = (*arguments, None)[:2]
    xs: Any = arriving[0] if isinstance(arriving, tuple) else arriving
    if isinstance(module.input_weights, Tensor):
        yield "input_weights", xs, module.input_weights
    recurrent = module.prepare()[0]
    if recurrent is not None:
        zs = result[0][None] if isinstance(module, CellMixin) else result[0]
        first = torch.zeros_like(zs[:1]) if state is None else state.z[None].to(zs.dtype)
        yield "recurrent_weights", torch.cat([first, zs])[: len(zs)], recurrent
