"""Look at what the modules of a network take and return while it runs."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

# Gets name, module, arguments in their order, and result.
Callback = Callable[[str, nn.Module, tuple[Any, ...], Any], None]


@contextmanager
def record_calls(model: nn.Module, see: Callback) -> Iterator[None]:
    """While this lasts, `see` is told of every call of every module in `model`, itself included; not of calls that `see` makes."""
    busy = False

    def tell(name: str, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], result: Any) -> None:
        nonlocal busy
        # What is traced on the way to a kernel is not a run.
        if busy or torch._C._len_torch_dispatch_stack():
            return
        busy = True
        try:
            see(name, module, inspect.signature(module.forward).bind(*arguments, **keywords).args, result)
        finally:
            busy = False

    handles = [
        module.register_forward_hook(partial(tell, name), with_kwargs=True) for name, module in model.named_modules()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
