"""Mistakes about the time axis that can be recognized from the modules of a network."""

from collections.abc import Iterable, Iterator
from typing import Any, cast, Literal

from torch import nn, Tensor

from ..core.neuron import Dynamics
from ..wrappers import CellMixin

# Whether a module takes all steps, or one step; None for a module without state, and for one that is not known.
Role = Literal["time", "step"] | None

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)
_POOLS = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)
_BY_DIMENSION = (nn.Softmax, nn.LogSoftmax, nn.Softmin)

# Dimensions of one step with a batch.
_STEP_DIMENSIONS: dict[type[nn.Module], int] = {
    **dict.fromkeys((nn.Linear, nn.BatchNorm1d), 2),
    **dict.fromkeys((nn.TransformerEncoderLayer, nn.TransformerEncoder), 3),
    nn.BatchNorm2d: 4,
    nn.BatchNorm3d: 5,
    **dict.fromkeys((nn.Conv1d, nn.ConvTranspose1d), 3),
    **dict.fromkeys((nn.Conv2d, nn.ConvTranspose2d), 4),
    **dict.fromkeys((nn.Conv3d, nn.ConvTranspose3d), 5),
}


def is_cell(module: nn.Module) -> bool:
    """Whether a module with state processes one step: all of them are called ``...Cell``."""
    return isinstance(module, CellMixin | nn.RNNCellBase) or type(module).__name__.endswith("Cell")


def role(module: nn.Module) -> Role:
    """Whether a module takes all steps or one, as far as it is known."""
    if is_cell(module):
        return "step"
    if isinstance(module, Dynamics | nn.RNNBase):
        return "time"
    return cast(Any, module).time_role() if hasattr(module, "time_role") else None  # of containers


def describe(name: object, module: nn.Module) -> str:
    """`LIFCell (module 1)`, for messages."""
    return f"{type(module).__name__} (module {name})"


def check_lifted(module: nn.Module) -> None:
    """Raise `TypeError` if a module that is to be lifted takes all steps already."""
    # A lifted `Lift` of a stateless module folds another axis, which is well defined.
    inner: Any = module.module if type(module).__name__ == "Lift" else None
    if role(module) == "time" and not (inner is not None and role(inner) is None):
        name = type(module).__name__
        raise TypeError(
            f"Lift expected a module that processes one step, such as torch.nn.Linear or a cell, got {name}, which "
            f"runs over time itself: lifted, it would take the batch for time and mix its samples. Use {name} without "
            "Lift."
        )
    check_stateless(module)


def check_stateless(module: nn.Module) -> None:
    """Raise `TypeError` if a module to which all steps are given as one batch would mix the samples of the batch."""
    for name, part in _in_sequence("", module):
        kind = type(part).__name__
        if name and role(part) is not None:
            raise TypeError(
                f"{type(module).__name__} over time has {describe(name.removeprefix('.'), part)}, whose state it would "
                "drop; use SequentialState instead of torch.nn.Sequential."
            )
        if type(part).__module__.startswith("torch.nn.") and any(
            isinstance(inner, nn.MultiheadAttention) and not inner.batch_first for inner in part.modules()
        ):
            raise TypeError(
                f"{kind} takes the first dimension for the sequence, which over time is time and batch together: it "
                f"would mix the samples. Use {kind}(..., batch_first=True) on input (time, batch, sequence, features)."
            )


def _in_sequence(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of nested `torch.nn.Sequential`s."""
    if type(module) is not nn.Sequential:
        yield name, module
        return
    for key, child in module.named_children():
        yield from _in_sequence(f"{name}.{key}", child)


def check_sequence(container: str, modules: Iterable[tuple[str, nn.Module]], lift: bool) -> tuple[Role, str | None]:
    """Check that modules in sequence agree about the time axis.

    Args:
        container: Name of the container.
        modules: The modules with their names.
        lift: Whether stateless modules are lifted.

    Returns:
        The role of the container, and a warning for its calls: that a module would take the batch for features if the
        input has one.

    Raises:
        ValueError: If cells stand beside modules over time, or a module that would take the batch for features stands
            beside a `Lift`.
    """
    entries = list(modules)
    over_time = [entry for entry in entries if role(entry[1]) == "time"]
    cells = [entry for entry in entries if role(entry[1]) == "step"]
    if cells and (lift or over_time):
        beside = "lift=True" if lift else f"{describe(*over_time[0])}, which takes all of them"
        kind = type(cells[0][1]).__name__
        raise ValueError(
            f"{container} has {describe(*cells[0])}, which processes one step, beside {beside}: the cell would take "
            f"all steps for one. Use {kind.removesuffix('Cell') or kind}, or Lift({kind}(...)), which steps the cell "
            "through time."
        )
    if lift:
        for _, module in entries:
            if role(module) is None:
                check_stateless(module)
    if over_time and not lift:
        lifts = [entry for entry in over_time if type(entry[1]).__name__ == "Lift"]
        for name, module in _unlifted(entries):
            message = (
                f"{container} has {describe(name, module)} beside {describe(*(lifts or over_time)[0])}, which runs "
                f"over time: on input (time, batch, ...), {type(module).__name__} takes the batch for features or "
                "channels. Apply it to every step with SequentialState(..., lift=True), or with "
                f"Lift({type(module).__name__}(...))."
            )
            if lifts:
                raise ValueError(message)
            return "time", message
    return ("time" if lift or over_time else "step" if cells else None), None


def _unlifted(entries: list[tuple[str, nn.Module]]) -> Iterator[tuple[str, nn.Module]]:
    """The modules that take the second dimension of their input for features or channels.

    Modules that are not known may remove the time axis, so those after them are not considered.
    """
    for name, module in entries:
        children = [(f"{name}.{key}", child) for key, child in module.named_children()]
        if type(module) is nn.Sequential:
            yield from _unlifted(children)
        elif _takes_second_dimension(module):
            yield name, module
        elif role(module) is None and type(module).__module__.split(".")[0] not in ("torch", "geir"):
            return


def _takes_second_dimension(module: nn.Module) -> bool:
    if type(module) is nn.Flatten:
        return module.start_dim in (0, 1)
    if type(module) in _BY_DIMENSION:
        return getattr(module, "dim", None) in (None, 0, 1)
    return type(module) in (*_NORMS, *_POOLS)


def check_batch(module: nn.Module, xs: Tensor) -> None:
    """Raise `ValueError` if input over time has no batch dimension, for modules that are known to need one."""
    first = module
    while type(first) is nn.Sequential and len(first):
        first = first[0]
    needed = _STEP_DIMENSIONS.get(type(first))
    if needed is not None and xs.dim() == needed:
        name = type(module).__name__
        raise ValueError(
            f"{name} over time expected an input of shape (time, batch, ...) with {needed + 1} dimensions, got shape "
            f"{tuple(xs.shape)}. Without a batch, add one with xs.unsqueeze(1); without time, repeat the input with "
            "xs.expand(steps, *xs.shape), or encode it as spikes with geir.encode."
        )
