"""Run modules once on input that is the same at every step.

The input is constant if its stride in time is 0, as after ``x.expand(steps, ...)``. Only modules known to be
deterministic and to process every sample by itself are run once: for them, the outputs at all steps are equal.
"""

from collections.abc import Callable, Iterable

import torch
from torch import nn, Tensor
from torch._C._functorch import peek_interpreter_stack

# Whether a module of this class, called on one step of shape (batch, ...), is deterministic and treats each sample
# by itself. Only exact classes count: a subclass may do anything in its `forward`.
Rule = Callable[[nn.Module, Tensor], bool]


def _always(module: nn.Module, x: Tensor) -> bool:
    return True


def _has_batch(dimensions: int) -> Rule:
    # With fewer dimensions, the module would take the batch for features or channels.
    return lambda module, x: x.dim() >= dimensions


def _normalizes_features(module: nn.Module, x: Tensor) -> bool:
    return isinstance(module, nn.LayerNorm) and x.dim() > len(module.normalized_shape)


# While training, the variance over `steps` copies of a batch enters the running variance with another factor,
# n / (n - 1), and without running statistics the batch is not treated sample by sample.
def _uses_running_statistics(module: nn.Module, x: Tensor) -> bool:
    statistics = module.running_mean is not None and module.running_var is not None
    return not module.training and statistics and x.dim() >= 2


_RULES: dict[type[nn.Module], Rule] = {
    nn.Identity: _always,
    nn.Flatten: lambda module, x: isinstance(module, nn.Flatten) and module.start_dim > 0,
    nn.Linear: _has_batch(2),
    nn.Conv1d: _has_batch(3),
    nn.Conv2d: _has_batch(4),
    nn.Conv3d: _has_batch(5),
    nn.ConvTranspose1d: _has_batch(3),
    nn.ConvTranspose2d: _has_batch(4),
    nn.ConvTranspose3d: _has_batch(5),
    nn.LayerNorm: _normalizes_features,
    nn.GroupNorm: _has_batch(2),
    nn.BatchNorm1d: _uses_running_statistics,
    nn.BatchNorm2d: _uses_running_statistics,
    nn.BatchNorm3d: _uses_running_statistics,
}
for _dimensions, _classes in {
    3: (nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d),
    4: (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d),
    5: (nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveMaxPool3d, nn.AdaptiveAvgPool3d),
}.items():
    _RULES |= dict.fromkeys(_classes, _has_batch(_dimensions))
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish)
_BOUNDED = (nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.Threshold)
_RULES |= dict.fromkeys((*_ACTIVATIONS, *_BOUNDED), _always)


def register_samplewise(module_class: type[nn.Module]) -> type[nn.Module]:
    """See `Lift.register_samplewise`."""
    if not (isinstance(module_class, type) and issubclass(module_class, nn.Module)):
        raise TypeError(f"register_samplewise expected a class of modules, got {module_class!r}.")
    _RULES[module_class] = _always
    return module_class


def is_constant(xs: Tensor) -> bool:
    """Whether all steps of `xs`, shape (time, batch, ...), are the same memory, and one can stand for all.

    False for input with a gradient or tangent, which may differ from step to step.
    """
    if type(xs) is not Tensor or torch.compiler.is_compiling():
        return False
    # First what is asked fast and tells most inputs: this runs in every call.
    if xs.layout != torch.strided or xs.dim() < 2 or xs.stride(0) or xs.requires_grad:
        return False
    return is_ordinary(xs) and len(xs) > 1 and xs.numel() > 0


def is_ordinary(xs: object) -> bool:
    """Whether this is a tensor in memory, and nothing traces or transforms what is computed with it."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() or type(xs) is not Tensor:
        return False
    if xs.layout != torch.strided or peek_interpreter_stack() is not None:
        return False
    return torch.autograd.forward_ad._current_level < 0


def run_once(modules: Iterable[nn.Module], xs: Tensor) -> tuple[Tensor, int]:
    """Run the leading modules that are known to be deterministic on one step of a constant input.

    Args:
        modules: Modules of one step, called one after the other.
        xs: Constant input, shape (time, batch, ...).

    Returns:
        The output over time and the number of modules that were run. The output is an ordinary tensor, not an
        expanded view: writing into one step of a view would change all steps.
    """
    # A copy, so that a module with `inplace=True` does not write into the input.
    x, count = xs[0].clone(), 0
    for module in modules:
        y = apply_known(module, x) if is_known(module) else None
        if y is None:
            break
        x, count = y, count + 1
    return (x.expand(len(xs), *x.shape).clone(memory_format=torch.contiguous_format) if count else xs), count


def is_known(module: nn.Module) -> bool:
    """Whether there is a rule for a module, or for all those in a `torch.nn.Sequential`, and nothing modifies it."""
    if type(module) is nn.Sequential:
        return not is_modified(module) and all(map(is_known, module))
    return type(module) in _RULES and not is_modified(module)


def is_modified(module: nn.Module) -> bool:
    """Whether a module has hooks, which may depend on the number of calls, or an overridden `forward`."""
    hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    everywhere = nn.modules.module  # hooks registered for all modules
    hooks = hooks or everywhere._global_forward_hooks or everywhere._global_forward_pre_hooks
    hooks = hooks or everywhere._global_backward_hooks or everywhere._global_backward_pre_hooks
    return bool(hooks) or "forward" in vars(module)


def apply_known(module: nn.Module, x: Tensor) -> Tensor | None:
    """Apply a known module to samples; None if its rule does not hold, or if it raises an error."""
    if isinstance(module, nn.Sequential):
        for child in module:
            y = apply_known(child, x)
            if y is None:
                return None
            x = y
        return x
    if not _RULES[type(module)](module, x):
        return None
    try:
        y = module(x)
    except Exception:
        # The caller runs the module over time, and its error names that shape.
        return None
    return y if isinstance(y, Tensor) and y.dim() and len(y) == len(x) else None
