"""The integrator's coefficients of a model, cached between calls."""

from typing import Any, NamedTuple, TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .ode import ODE


class _CachedTensor(NamedTuple):
    tensor: Tensor | None
    version: int


class _Entry(NamedTuple):
    settings: tuple[Any, ...]
    tensors: list[_CachedTensor]
    coefficients: Any


_cache: WeakKeyDictionary["ODE", _Entry] = WeakKeyDictionary()


def cached_coefficients(model: "ODE") -> Any:
    """The coefficients that the model's integrator computes from its parameters.

    Computing them takes a dozen small PyTorch operations, longer than a step of a cell, so they are kept with
    the model. They depend on the integrator, on `dt` and on the model's parameters and buffers. An entry is
    valid as long as all of these are the same objects and no tensor's version counter, which counts in-place
    changes, has moved. Coefficients that carry a gradient, belong to a function transform or are being traced
    are never kept.
    """
    if torch.compiler.is_compiling():
        return model.integrator.prepare(model)
    tensors = [*model._parameters.values(), *model._buffers.values()]
    settings = (model.integrator, model.dt)
    entry = _cache.get(model)
    if entry and entry.settings == settings and _unchanged(tensors, entry.tensors):
        return entry.coefficients
    if not all(map(_cacheable, tensors)):
        return model.integrator.prepare(model)
    # Outside of inference mode: its tensors could not be used elsewhere. No gradient is wanted, or the
    # tensors would not be cacheable.
    with torch.inference_mode(False), torch.no_grad():
        coefficients = model.integrator.prepare(model)
    versions = [_CachedTensor(t, 0 if t is None else t._version) for t in tensors]
    _cache[model] = _Entry(settings, versions, coefficients)
    return coefficients


def _unchanged(tensors: list[Tensor | None], cached: list[_CachedTensor]) -> bool:
    return len(tensors) == len(cached) and all(
        tensor is before.tensor
        and (tensor is None or (tensor._version == before.version and not _carries_gradient(tensor)))
        for tensor, before in zip(tensors, cached, strict=True)
    )


def _carries_gradient(tensor: Tensor) -> bool:
    return tensor.requires_grad and torch.is_grad_enabled()


def _cacheable(tensor: Tensor | None) -> bool:
    """Whether a tensor is a plain one: without gradient, and not part of a function transform or a trace."""
    if tensor is None:
        return True
    transformed = torch._C._functorch.is_functorch_wrapped_tensor(tensor)  # pyright: ignore[reportAttributeAccessIssue]  (not in its stubs)
    plain = type(tensor) in (Tensor, torch.nn.Parameter) and not transformed
    return plain and not tensor.is_inference() and not _carries_gradient(tensor)
