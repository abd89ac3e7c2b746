"""Guards of `torch.compile` on the settings of a model."""

import dataclasses

from torch import nn

from .step_fingerprint import IGNORED_ATTRIBUTES


def guard_on_settings(module: nn.Module) -> None:
    """Touch every setting of a module and its submodules, so that dynamo installs guards on them.

    The program of a step is a constant of the compiled code, and tracing it is invisible to dynamo. But dynamo
    guards on everything that compiled code reads. Because the settings are read here, in code that dynamo sees,
    a change of one invalidates the compiled code. The results are not used.

    A number that changes becomes a symbol of the compiled code, which is then valid for any value. So numbers
    are made members of a set: to hash them, dynamo must know their values, and guards on them.
    """
    for part in module.modules():
        _touch(vars(part))


def _touch(values: dict[str, object]) -> int:
    touched = 0
    for name, value in values.items():
        if name in IGNORED_ATTRIBUTES:
            continue
        if isinstance(value, bool | str):
            touched += value == 0
        elif isinstance(value, int | float):
            touched += len({value})
        elif dataclasses.is_dataclass(value):
            touched += _touch(vars(value))
        else:
            touched += value is None
    return touched
