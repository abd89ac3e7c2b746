"""Guards of `torch.compile` on the settings of a model."""

import dataclasses

from torch import nn


def guard_on_settings(module: nn.Module) -> None:
    """Touch every setting of a module and its submodules, so that dynamo installs guards on them.

    The program of a step is a constant of the compiled code, and tracing it is invisible to dynamo. But dynamo
    guards on everything that compiled code reads. Because the settings are read here, in code that dynamo sees,
    a change of one invalidates the compiled code. The comparisons below have no other purpose; their results
    are not used. Settings are numbers, strings, dataclasses of these, or other objects, which are guarded by
    their type and identity.
    """
    for part in module.modules():
        _touch(vars(part))


def _touch(values: dict[str, object]) -> int:
    touched = 0
    for name, value in values.items():
        if name.startswith("_") or name == "training":
            continue
        if isinstance(value, int | float | str):
            touched += value == 0
        elif dataclasses.is_dataclass(value):
            touched += _touch(vars(value))
        else:
            touched += value is None
    return touched
