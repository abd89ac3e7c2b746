"""The integrator's coefficients of a model, cached between calls."""

from typing import NamedTuple, TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import nn, Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd import forward_ad

from .integrators import Coefficients

if TYPE_CHECKING:
    from .ode import ODE


class _Entry(NamedTuple):
    settings: tuple[object, ...]
    tensors: list[Tensor | None]  # copies of the parameters and buffers
    coefficients: Coefficients


_cache: WeakKeyDictionary["ODE", _Entry] = WeakKeyDictionary()


def cached_coefficients(model: "ODE") -> Coefficients:
    """The coefficients that the model's integrator computes from its parameters.

    Computing them takes dozens of small PyTorch operations, longer than the step of a cell, so they are
    cached where that is safe:

    - The equations are geir's own, so that they depend on the integrator, on `dt` and on the model's
    parameters and buffers only. The
      equations of a user may read anything, such as a global variable, and are evaluated in every call.
    - The values of all of these are the same as before. Values are compared, not version counters: fused
    optimizers, writes through
      `.data` or NumPy and collectives of `torch.distributed` change tensors without counting.
    - The tensors are plain ones on the CPU, where comparing them is cheap, and no gradient is wanted.
    """
    tensors = [*model._parameters.values(), *model._buffers.values()]
    if torch.compiler.is_compiling() or not _has_known_equations(model) or not all(map(_is_comparable, tensors)):
        return model.integrator.prepare(model)
    settings = (model.integrator, model.dt)
    entry = _cache.get(model)
    if entry and entry.settings == settings and _equal(tensors, entry.tensors):
        return entry.coefficients
    # Outside of inference mode: its tensors could not be used elsewhere. No gradient is wanted, or the
    # tensors would not be comparable.
    with torch.inference_mode(False), torch.no_grad():
        copies = [None if tensor is None else tensor.clone() for tensor in tensors]
        coefficients = model.integrator.prepare(model)
    _cache[model] = _Entry(settings, copies, coefficients)
    return coefficients


def _has_known_equations(model: "ODE") -> bool:
    kind = type(model)
    functions = (kind.rest, kind.derivative, type(model.integrator).prepare)
    return all(function.__module__.startswith("geir.") for function in functions)


def _is_comparable(tensor: Tensor | None) -> bool:
    """Whether a tensor is a plain one on the CPU, without gradient or tangent, outside of transforms and traces."""
    if tensor is None:
        return True
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.device.type != "cpu" or tensor.is_inference():
        return False
    # A tensor of forward mode has a tangent besides its value.
    if forward_ad._current_level >= 0:
        return False
    if torch._C._len_torch_dispatch_stack() > 0 or (tensor.requires_grad and torch.is_grad_enabled()):
        return False
    return not is_functorch_wrapped_tensor(tensor)


def _equal(tensors: list[Tensor | None], copies: list[Tensor | None]) -> bool:
    return len(tensors) == len(copies) and all(map(_same, tensors, copies))


def _same(tensor: Tensor | None, copy: Tensor | None) -> bool:
    if tensor is None or copy is None:
        return tensor is copy
    return tensor.dtype == copy.dtype and tensor.shape == copy.shape and torch.equal(tensor, copy)
