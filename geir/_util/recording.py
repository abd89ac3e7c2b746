"""Record the calls of a network's modules while it runs."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList


@dataclass(frozen=True)
class Call:
    """One call of a module."""

    name: str  # the module's name in the network; empty for the network itself
    module: nn.Module
    arguments: tuple[Any, ...]  # in the order of the parameters of `forward`
    result: Any


@contextmanager
def record_calls(model: nn.Module, callback: Callable[[Call], None]) -> Iterator[None]:
    """Inside the context, report every call of every module in `model`, including `model` itself.

    Three kinds of calls are not reported: those that `callback` makes itself; those made while a step is traced to
    build a kernel, because they do not belong to the run; and those of parametrizations, which make weights.

    Args:
        model: Any module.
        callback: Called after each call of a module.
    """
    in_callback = False

    def report(
        name: str, module: nn.Module, positional: tuple[object, ...], keywords: dict[str, object], result: object
    ) -> None:
        nonlocal in_callback
        # Tracing runs the step under a dispatch mode, in which values are symbolic.
        is_traced = torch._C._len_torch_dispatch_stack() > 0
        if in_callback or is_traced:
            return
        arguments = inspect.signature(module.forward).bind(*positional, **keywords).args
        in_callback = True
        try:
            callback(Call(name, module, arguments, result))
        finally:
            in_callback = False

    modules = dict(model.named_modules())
    for parametrizations in [module for module in modules.values() if isinstance(module, ParametrizationList)]:
        parts = set(parametrizations.modules())
        modules = {name: module for name, module in modules.items() if module not in parts}
    handles = [
        module.register_forward_hook(partial(report, name), with_kwargs=True) for name, module in modules.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
