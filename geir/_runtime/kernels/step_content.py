"""Everything that a step may read, by value: what is computed from a step and remembered depends on no more."""

from collections.abc import Hashable

import torch
from torch import nn, Tensor

from ..._util.state import map_tensors, tensors_of
from ..stepper import Prepared, Step
from .step_fingerprint import fingerprint_module, fingerprint_prepared, UnknownContentError
from .symbols import find_number


def step_content(module: nn.Module, step: Step, prepared: Prepared) -> Hashable | None:
    """The content of a step: equal for two calls only if the step does the same in both.

    Args:
        module: The module that the step belongs to.
        step: The function that runs, as a rule one of its methods.
        prepared: What the module prepared for it.

    Returns:
        The content, or None if the step may depend on an object whose content is unknown.
    """
    try:
        settings = fingerprint_module(module, step)
        values, _ = fingerprint_prepared(prepared)
    except UnknownContentError:
        return None
    numbers = tuple(repr(find_number(module, place)) for place in settings.places)
    tensors = list(tensors_of(module).values())
    map_tensors(tensors.append, prepared)
    return settings.fingerprint, numbers, values, tuple(map(_tensor_content, tensors))


def _tensor_content(tensor: Tensor) -> Hashable:
    # Not the version counter, which many ways of changing a tensor leave as it is.
    values = tensor.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy().tobytes()
    return tensor.dtype, tensor.device, tensor.shape, values
