"""Which parts of a neuron's state have traces that are the same for all postsynaptic neurons."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_unflatten, TreeSpec

from ..core.neuron import Dynamics
from ._linearize import step_of

aten = torch.ops.aten
_SUMS = (aten.add.Tensor, aten.sub.Tensor, aten.rsub.Scalar, aten.neg.default, aten.clone.default)
_PRODUCTS = (aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar)


def shared_parts(
    neuron: Dynamics, spec: TreeSpec, x: Tensor, parts: Sequence[Tensor], kept: Sequence[int]
) -> list[int]:
    """The parts whose step is affine in input and in such parts only, with coefficients that are single numbers.

    Their derivatives are then the same for all neurons, at every step and for every input, and so are their traces:
    a synaptic current, but not a potential that spikes reset.

    Args:
        neuron: The neuron.
        spec: Structure of the state.
        x: One step of input to the neurons.
        parts: The tensors of the state.
        kept: The parts that have derivatives, which the returned indices count.
    """
    step, prepared = step_of(neuron)
    sources = [x.clone(), *(part.clone() for part in parts)]
    with torch.no_grad(), _Affine(sources) as mode:
        _, after = step(sources[0], tree_unflatten(sources[1:], spec), *prepared)
    if mode.uncertain:
        return []
    uses = {k: mode.sources_of(part) for k, part in enumerate(tree_leaves(after))}
    shared = {k for k in kept if uses[k] is not None}
    # A part that depends on another one is shared only if that is.
    while dependent := {k for k in shared if not (uses[k] or set()) <= {j + 1 for j in shared} | {0}}:
        shared -= dependent
    return [index for index, k in enumerate(kept) if k in shared]


class _Affine(TorchDispatchMode):
    """Finds which sources a tensor is an affine function of, with single numbers as coefficients.

    Operations that it does not know are not affine, and tensors that it has not seen are constants only if they are
    single numbers.
    """

    def __init__(self, sources: list[Tensor]):
        super().__init__()
        self.alive = list(sources)  # ids are unique while the tensors live
        self.found: dict[int, set[int] | None] = {id(t): {k} for k, t in enumerate(sources)}
        # Whether the step used numbers in a way that is not seen here: in Python, or by changing a tensor in place.
        self.uncertain = False

    def sources_of(self, tensor: Tensor) -> set[int] | None:
        """Indices of the sources; None if it is not affine."""
        return self.found.get(id(tensor), set() if tensor.dim() == 0 else None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        used = [self.sources_of(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if not any(sources is None or sources for sources in used):
            return result
        if not isinstance(result, Tensor) or func._schema.is_mutable:
            self.uncertain = True
            return result
        self.alive.append(result)
        self.found[id(result)] = self._combine(func, args, [s for s in used if s is None or s])
        return result

    def _combine(self, func: Any, args: Any, used: list[set[int] | None]) -> set[int] | None:
        known = [sources for sources in used if sources is not None]
        if len(known) < len(used):
            return None
        if func in _SUMS:
            return set().union(*known)
        if func in _PRODUCTS and len(known) == 1 and isinstance(args[0], Tensor):
            divides = func in (aten.div.Tensor, aten.div.Scalar)
            return known[0] if not divides or self.sources_of(args[0]) else None
        return None
