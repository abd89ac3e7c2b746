"""The integrator's coefficients of a model, cached between calls."""

import ctypes
from typing import NamedTuple, TYPE_CHECKING

import torch
from torch import nn, Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad

from .._runtime.memo import memo_of
from .._util.class_edits import Edits, is_code_of_geir
from .integrators import Coefficients

if TYPE_CHECKING:
    from .ode import ODE

# Of a tensor: its dtype, its shape and its bytes. None stands for a parameter that is None.
_Value = tuple[torch.dtype, torch.Size, bytes] | None


class _Entry(NamedTuple):
    edits: int  # of classes of geir before
    integrator: object
    dt: float
    values: list[_Value]  # of the parameters and buffers
    coefficients: Coefficients


def cached_coefficients(model: "ODE") -> Coefficients:
    """The coefficients that the model's integrator computes from its parameters.

    Computing them takes dozens of small PyTorch operations, longer than the step of a cell, so they are
    cached where that is safe:

    - The equations are geir's own, so that they depend on the integrator, on `dt` and on the model's parameters and
      buffers only, without the weights of a recurrent model. The equations of a user may read anything, such as a
      global variable, and are evaluated in every call. So are the equations of a model with submodules, such as a
      parametrization, which may compute parameters.
    - The values of all of these are the same as before. Values are compared, not version counters: fused
      optimizers, writes through `.data` or NumPy and collectives of `torch.distributed` change tensors without
      counting.
    - The tensors are plain ones on the CPU, where comparing them is cheap, and no gradient is wanted.
    """
    if torch.compiler.is_compiling() or not has_known_equations(model):
        return model.integrator.prepare(model)
    tensors = model._parameters | model._buffers
    values = _values_of([tensor for name, tensor in tensors.items() if name not in model.weight_names])
    memo = memo_of(model)
    if values is None or memo is None:
        return model.integrator.prepare(model)
    entry: _Entry | None = memo.coefficients
    settings = Edits.count, model.integrator, model.dt
    if entry and (entry.edits, entry.integrator, entry.dt) == settings and entry.values == values:
        return entry.coefficients
    # Outside of inference mode: its tensors could not be used elsewhere. No gradient is wanted, or there would be no
    # values.
    with torch.inference_mode(False), torch.no_grad():
        coefficients = model.integrator.prepare(model)
    memo.coefficients = _Entry(*settings, values, coefficients)
    return coefficients


def has_known_equations(model: "ODE") -> bool:
    """Whether the coefficients of a model depend on its settings and its own parameters and buffers only."""
    kind = type(model)
    functions = (kind.rest, kind.derivative, type(model.integrator).prepare)
    return not model._modules and all(map(is_code_of_geir, functions))


def _values_of(tensors: list[Tensor | None]) -> list[_Value] | None:
    """The values of plain tensors on the CPU; None if there are others, or a gradient or tangent is wanted."""
    # A tensor of forward mode has a tangent besides its value; one of a transform, or in a dispatch mode, has none.
    if forward_ad._current_level >= 0 or peek_interpreter_stack() is not None:
        return None
    if torch._C._len_torch_dispatch_stack() > 0:
        return None
    grad_enabled = torch.is_grad_enabled()
    values: list[_Value] = []
    for tensor in tensors:
        if tensor is None:
            values.append(None)
            continue
        if type(tensor) not in (Tensor, nn.Parameter) or not tensor.is_cpu or not tensor.is_contiguous():
            return None
        if tensor.is_inference() or (grad_enabled and tensor.requires_grad):
            return None
        address = tensor.data_ptr()
        if not address and tensor.numel():  # its storage is freed
            return None
        values.append((tensor.dtype, tensor.shape, ctypes.string_at(address, tensor.nbytes) if address else b""))
    return values
