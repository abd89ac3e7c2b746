"""Whether to call a module is to call its `forward`.

`torch.nn.Module.__call__` looks for hooks, for a compiled form and for what observes the call. Its two frames take
longer than that, most of all while their code is in no cache; a container asks once for all of its modules.
"""

from collections.abc import Iterable
from operator import attrgetter

import torch
from torch import nn
from torch.nn.modules import module as torch_module

from .class_edits import module_of_code

# Of a module: what its call runs besides its `forward`, or in its place.
_hooks_of = attrgetter(
    "_compiled_call_impl", "_backward_hooks", "_backward_pre_hooks", "_forward_hooks", "_forward_pre_hooks"
)
# Names looked up once: a call would look them up in memory that is in no cache.
_profiler_enabled = torch._C._autograd._profiler_enabled  # pyright: ignore[reportAttributeAccessIssue]  (not in its stubs)
_is_compiling, _tracing_state, _Module = torch.compiler.is_compiling, torch._C._get_tracing_state, nn.Module
_NAMES_OF_TORCH = vars(torch_module)
_GLOBAL_HOOKS = (
    torch_module._global_backward_hooks,
    torch_module._global_backward_pre_hooks,
    torch_module._global_forward_hooks,
    torch_module._global_forward_pre_hooks,
)


def calls_forward_only(module: nn.Module) -> bool:
    """Whether the call of a module whose class has the call of PyTorch only calls `forward`: no hooks, not compiled."""
    return not any(_hooks_of(module)) and "_call_impl" not in module.__dict__


def hooks_of(modules: Iterable[nn.Module]) -> list[object]:
    """The dictionaries of the hooks of modules, and their compiled forms; all are false if there are none."""
    return [hooks for module in modules for hooks in _hooks_of(module)]


def is_code_of_torch(kind: type[nn.Module]) -> bool:
    """Whether a class of modules and its `forward` are PyTorch's."""
    written_in = kind.__module__, module_of_code(getattr(kind, "forward", None))
    return all(name.startswith("torch.nn.modules.") for name in written_in)


def is_call_unobserved() -> bool:
    """Whether nothing observes the calls of all modules: no global hook, tracing, profiler or patch; not compiling."""
    return not (
        _is_compiling()
        or any(_GLOBAL_HOOKS)
        or _tracing_state()
        or _profiler_enabled()  # it names modules by the frames of their calls
        # By the globals: a function that wraps another has its name and its module.
        or _Module.__call__.__globals__ is not _NAMES_OF_TORCH
        or _Module._call_impl.__globals__ is not _NAMES_OF_TORCH
    )
