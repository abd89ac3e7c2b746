"""Models of geir as nodes of NIR and back, and what of a model NIR has no place for."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import neurons
from ..connections import Delay
from ..connections.interpolation import NearestStep
from ..core.integrators import Euler, Exact, ExponentialEuler, Integrator, RungeKutta4, RushLarsen
from ..core.neuron import Dynamics, emits_multiple_spikes
from ..core.parameters import Parameter
from ..core.resets import Reset, ResetBySubtraction, ResetToValue
from ..surrogates import MultiSpike, Surrogate
from ..wrappers import CellMixin, RecurrentMixin
from ..wrappers.recurrent import Recurrent
from ..wrappers.wrapper import Wrapper
from ._layers import NEURONS, PARAMETERS
from ._shapes import Shape
from .discretizations import (
    DelayedReset,
    ExponentialDecay,
    ResetAtCrossing,
    SequentialEuler,
    SnnTorchSubtraction,
)
from .errors import import_nir, NIRError
from .files import to_tensor

Metadata = dict[str, Any]
Values = dict[str, Tensor | float]
# A field that is no parameter of the model, made of the model.
Extra = Callable[[Any], Tensor | float]

INTEGRATORS: dict[str, Integrator] = {
    type(integrator).__name__: integrator
    for integrator in (
        Euler(),
        Exact(),
        ExponentialEuler(),
        RungeKutta4(),
        RushLarsen(),
        SequentialEuler(),
        ExponentialDecay(),
    )
}
RESETS: dict[str, Reset] = {
    "ResetToValue": ResetToValue(),
    "ResetBySubtraction": ResetBySubtraction(),
    "SnnTorchSubtraction": SnnTorchSubtraction(),
    "ResetAtCrossing": ResetAtCrossing(),
    "DelayedReset(ResetToValue)": DelayedReset(by=ResetToValue()),
    "DelayedReset(ResetToValue, after_integration)": DelayedReset(by=ResetToValue(), after_integration=True),
    "DelayedReset(ResetBySubtraction)": DelayedReset(by=ResetBySubtraction()),
}


class Description(NamedTuple):
    """A model as a node."""

    kind: str  # type of the node
    values: Values  # its fields, by their names in geir
    unsupported: list[str]  # what NIR has no place for
    metadata: Metadata


def _is(kind: str, **values: Extra) -> tuple[str, dict[str, Extra]]:
    return kind, values


def _one(model: Any) -> float:
    return 1.0


def _jump(model: Any) -> Tensor:
    """The weight with which the input of NIR, a current during the step, has the effect of a jump."""
    return model.tau_syn / model.dt


# Models that NIR can express: type of node, and fields that are not parameters of the model.
_EXPRESSIBLE: dict[type[Dynamics], tuple[str, dict[str, Extra]]] = {
    **{model: _is(kind) for kind, model in NEURONS.items()},
    neurons.CubaLIF: _is("CubaLIF"),
    neurons.LIBox: _is("LI", r=_one),
    neurons.LIFBox: _is("LIF", r=_one),
    neurons.ParametricLIF: _is("LIF", r=_one),
    neurons.LI: _is("CubaLI", r=_one, w_in=_jump),
    neurons.LIF: _is("CubaLIF", r=_one, w_in=_jump),
    neurons.IAF: _is("IF", r=lambda model: 1 / model.dt),
}
_BY_NAME = {model.__name__: model for model in _EXPRESSIBLE}


def model_class(model: Dynamics) -> type[Dynamics]:
    """The class of a model without recurrence, over time: `LIF` of a `LIFRecurrentCell`."""
    return next(
        base
        for base in type(model).__mro__
        if issubclass(base, Dynamics) and not issubclass(base, CellMixin | RecurrentMixin)
    )


def describe(model: Dynamics) -> Description:
    """A model as a node.

    Raises:
        NIRError: If it is written with a value that no metadata can hold, or no node resembles it.
    """
    if isinstance(model, Recurrent):
        model = model.neuron
    kind_of_model = model_class(model)
    metadata: Metadata = {"geir_model": kind_of_model.__name__, "geir_dt": float(model.dt)}
    unsupported: list[str] = []
    if kind_of_model in _EXPRESSIBLE:
        kind, extra = _EXPRESSIBLE[kind_of_model]
        names = kind_of_model.declarations().keys() & set(PARAMETERS.values())
        values: Values = {name: getattr(model, name) for name in names}
        for name, value in extra.items():
            values[name] = value(model)
    else:
        kind, values = _resemble(model, kind_of_model)
        unsupported.append(f"NIR has no {kind_of_model.__name__}")
        metadata |= _parameters(model, kind_of_model)
    metadata |= _settings(model, unsupported)
    return Description(kind, values, unsupported, metadata)


def _settings(model: Any, unsupported: list[str]) -> Metadata:
    """Integrator, reset and surrogate."""
    metadata: Metadata = {}
    if (integrator := _inner_attribute(model, "integrator")) is not None:
        metadata["geir_integrator"] = _name_of(integrator, INTEGRATORS, model)
    if (reset := _inner_attribute(model, "reset_mechanism")) is not None:
        metadata["geir_reset"] = _name_of(replace(reset, detach=True), RESETS, model)
        if not reset.detach:
            metadata["geir_detach_reset"] = 0
        if metadata["geir_reset"] != "ResetToValue":
            unsupported.append(f"NIR resets to v_reset and has no {metadata['geir_reset']}")
    if model.spiking:
        surrogate = model.surrogate
        if isinstance(surrogate, MultiSpike) and surrogate.maximum is None:
            metadata["geir_multiple_spikes"] = float(surrogate.step)
            unsupported.append("NIR has one spike in a step, not several")
        elif not isinstance(surrogate, Surrogate) or emits_multiple_spikes(surrogate):
            raise NIRError(f"{type(model).__name__} has no spikes of 0 and 1 with surrogate={surrogate}")
    return metadata


def _inner_attribute(model: Any, name: str) -> Any:
    """A setting of a model or of the neuron that it wraps; None if it has none."""
    while isinstance(model, Wrapper):
        model = model.neuron
    return getattr(model, name, None)


def _name_of(value: Any, known: dict[str, Any], model: Dynamics) -> str:
    for name, other in known.items():
        if value == other and type(value) is type(other):
            return name
    raise NIRError(f"{type(model).__name__} has {value}, which no NIR file can hold; there are {', '.join(known)}")


def _resemble(model: Any, kind: type[Dynamics]) -> tuple[str, Values]:
    """The node for programs that know NIR only: the same neuron without what NIR lacks."""
    if not hasattr(neurons, kind.__name__) or getattr(neurons, kind.__name__) is not kind:
        hint = "; a named variant, such as geir.LIFRefrac, can be written" if issubclass(kind, Wrapper) else ""
        raise NIRError(f"NIR has no {kind.__name__}, and it is not a model of geir.neurons{hint}")
    values: Values = {"r": 1.0}
    for name in ("tau_mem", "v_rest", "v_th", "v_reset"):
        if not hasattr(model, name):
            raise NIRError(f"NIR has no {kind.__name__}, and no node resembles it: it has no {name}")
        values[name] = getattr(model, name)
    if hasattr(model, "tau_syn"):
        return "CubaLIF", values | {"tau_syn": model.tau_syn, "w_in": _jump(model)}
    return "LIF", values


def _parameters(model: Any, kind: type[Dynamics]) -> Metadata:
    """All parameters of a model that NIR does not have."""
    metadata: Metadata = {}
    for name, argument in inspect.signature(kind).parameters.items():
        value = getattr(model, name, argument.default)
        if isinstance(value, Tensor) and isinstance(getattr(type(model), name, None), Parameter | property):
            array = to_numpy(value)
            # The nir package writes no arrays without dimensions.
            metadata[f"geir_parameter_{name}"] = array if array.ndim else array.item()
        elif name not in ("dt", "unroll", "record_states", "surrogate", "integrator", "reset_mechanism") and (
            value is not argument.default and value != argument.default
        ):
            raise NIRError(f"{kind.__name__} has {name}={value!r}, which no NIR file can hold")
    return metadata


def to_numpy(value: Tensor | float) -> np.ndarray:
    """A tensor as an array; half precision becomes float32."""
    if not isinstance(value, Tensor):
        return np.asarray(value, np.float32)
    value = value.detach().cpu()
    return (value if value.dtype in (torch.float64, torch.float32) else value.float()).numpy()


def make_node(kind: str, values: Values, shape: Shape, metadata: Metadata) -> Any:
    """The node of a model, every field of the shape of the node."""
    dtype = np.result_type(*(to_numpy(value).dtype for value in values.values()), np.float32)
    fields = {}
    for field, ours in PARAMETERS.items():
        if (
            ours in values
            and not (field == "tau_mem" and kind in ("LI", "LIF"))
            and not (field == "tau" and kind.startswith("Cuba"))
        ):
            value = to_numpy(values[ours])
            try:
                fields[field] = np.broadcast_to(value, shape).astype(dtype)
            except ValueError:
                raise NIRError(f"{ours} has shape {value.shape}, but its input has shape {shape}") from None
    return getattr(import_nir(), kind)(**fields, metadata=metadata)


def restore(node: Any, kind: str, shape: Shape, dt: float | None, dtype: torch.dtype) -> Dynamics | None:
    """The model that was written as this node; None if it was not written by geir.

    Raises:
        NIRError: If the metadata are invalid, or the fields of the node are no longer those of the model.
    """
    metadata = node.metadata if isinstance(node.metadata, dict) else {}
    if "geir_model" not in metadata:
        return None
    name = metadata["geir_model"]
    cls = _BY_NAME.get(name) if isinstance(name, str) else None
    if cls is not None:
        fields = {ours: getattr(node, field) for field, ours in PARAMETERS.items() if hasattr(node, field)}
        arguments: dict[str, Any] = {key: fields[key] for key in cls.declarations() if key in fields}
    else:
        cls = getattr(neurons, name, None) if isinstance(name, str) and not name.startswith("_") else None
        if not (isinstance(cls, type) and issubclass(cls, Dynamics)) or issubclass(cls, CellMixin | RecurrentMixin):
            raise _invalid(f"geir has no model {name!r}")
        prefix = "geir_parameter_"
        arguments = {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}
    settings = inspect.signature(cls).parameters
    arguments = {key: _tensor(key, value, dtype) for key, value in arguments.items()}
    if unknown := arguments.keys() - settings.keys():
        raise _invalid(f"{name} has no parameter {min(unknown)!r}")
    written_dt = _number(metadata, "geir_dt")
    for key, known, argument in (
        ("geir_integrator", INTEGRATORS, "integrator"),
        ("geir_reset", RESETS, "reset_mechanism"),
    ):
        if argument in settings:
            if metadata.get(key) not in known:
                raise _invalid(f"{key} is {metadata.get(key)!r}, expected one of {', '.join(known)}")
            arguments[argument] = known[metadata[key]]
            if argument == "reset_mechanism" and "geir_detach_reset" in metadata:
                arguments[argument] = replace(arguments[argument], detach=bool(_number(metadata, "geir_detach_reset")))
    if "geir_multiple_spikes" in metadata and "surrogate" in settings:
        arguments["surrogate"] = MultiSpike(step=_number(metadata, "geir_multiple_spikes"))
    model = cls(**arguments, dt=written_dt)
    _check_unchanged(node, kind, describe(model), shape)
    if dt is not None:
        model = cls(**arguments, dt=dt)
    return model


def _check_unchanged(node: Any, kind: str, description: Description, shape: Shape) -> None:
    changed = [] if kind == description.kind else ["type"]
    if not changed:
        expected = make_node(description.kind, description.values, shape, {})
        changed = [
            field
            for field in PARAMETERS
            if hasattr(expected, field)
            and not np.allclose(np.asarray(getattr(node, field)), getattr(expected, field), rtol=1e-5, atol=1e-12)
        ]
    if changed:
        raise _invalid(f"{changed[0]} is not that of the model {description.metadata['geir_model']}")


def _invalid(reason: str) -> NIRError:
    return NIRError(
        f"metadata of geir: {reason}; pass an integrator to from_nir to run the node by the specification alone"
    )


def _number(metadata: Metadata, key: str) -> float:
    value = metadata.get(key)
    if not isinstance(value, int | float | np.number) or not np.isfinite(float(value)):
        raise _invalid(f"{key} must be a number, got {value!r}"[:200])
    return float(value)


def _tensor(name: str, value: Any, dtype: torch.dtype) -> Tensor:
    array = np.asarray(value)
    if array.dtype.kind not in "iufb" or not np.isfinite(array).all():
        raise _invalid(f"{name} must be finite numbers")
    return to_tensor(array, dtype, name, None)


def delay_of(delay: Delay) -> Tensor:
    """The delay in seconds, which must be whole steps unless they are rounded.

    Raises:
        NIRError: If it is between two steps and is interpolated.
    """
    steps = delay.delay / delay.dt
    if not isinstance(delay.interpolation, NearestStep) and bool(((steps - steps.round()).abs() > 1e-4).any()):
        raise NIRError(f"its delays are between two steps of dt = {delay.dt:g} s and are interpolated; round them")
    return delay.delay
