"""The description of a model for its page: parameters, state, and the step in JavaScript."""

import copy
import inspect
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn, Tensor

from ..._runtime.kernels.javascript import script_of
from ..._runtime.kernels.program import NotFusableError
from ..._util.state import AnyState, leaves, tensors_of
from ..._util.validation import check_one_receptor
from ...core.integrators import Exact
from ...core.integrators.series import SeriesExact
from ...core.neuron import Dynamics
from ...core.parameters import parameter, Setting
from ...wrappers import RecurrentMixin, Wrapper
from ..curves import input_is_impulse
from .description import inline, symbol

# From where to where sliders go by default: a factor for parameters that must be positive, such as time constants, and
# a multiple of the value for all others.
_FACTOR = 10.0
_SPREAD = 1.5
# Distance of the ends of a slider from a bound that is excluded, as a fraction of the range.
_INSET = 1e-3

Ranges = Mapping[str, tuple[float, float]]


class Explorable(NamedTuple):
    """A model for a page."""

    script: str  # its step in JavaScript
    facts: dict[str, Any]  # what the page shows, as JSON


class _Place(NamedTuple):
    """A declared parameter of a model or of a part of it."""

    module: str  # dotted name
    owner: Dynamics
    # Typed as anything, because a `Parameter` is a descriptor.
    declaration: Any
    value: float

    @property
    def name(self) -> str:
        return f"{self.module}.{self.declaration.name}".lstrip(".")


def make_explorable(neuron: Dynamics, ranges: Ranges) -> Explorable:
    """The script and the facts of a model.

    Args:
        neuron: The model.
        ranges: From where to where the sliders of some parameters go.

    Raises:
        TypeError: If `neuron` is not a model.
        ValueError: If it cannot be shown, or `ranges` does not fit its parameters.
    """
    _check(neuron)
    name = type(neuron).__name__
    check_one_receptor("explore", name, neuron.input_types)
    places = _find_parameters(neuron)
    twin = _float64_twin(neuron, places)
    try:
        script = script_of(twin)
    except NotFusableError as error:
        raise ValueError(f"explore cannot show {name}: {error}.") from None
    declared = {place.name for place in places}
    values = {key: tensor.item() for key, tensor in tensors_of(twin).items() if key not in declared}
    sliders = [_slider(place, places, ranges) for place in places]
    if "dt" in script.arguments:
        sliders.append(_step_size_slider(neuron, places, ranges))
    known = {slider["name"] for slider in sliders}
    if unknown := ranges.keys() - known:
        raise ValueError(f"explore: {name} has no parameter {min(unknown)!r}. It has: {', '.join(sorted(known))}.")
    state = neuron.initial_state(torch.zeros(()))
    return Explorable(
        script.source,
        {
            "name": name,
            "dt": neuron.dt,
            "arguments": script.arguments,
            "constants": values,
            "parameters": sliders,
            "states": [_describe_part(part, state) for part, _ in leaves(state)],
            "spiking": neuron.spiking,
            "impulse": input_is_impulse(neuron),
            "modules": {
                prefix: _expression(prefix, module)
                for prefix, module in neuron.named_modules()
                if isinstance(module, Dynamics)
            },
        },
    )


def _check(neuron: object) -> None:
    if isinstance(neuron, type):
        raise TypeError(f"explore expected a neuron, got the class {neuron.__name__}; pass {neuron.__name__}().")
    if not isinstance(neuron, Dynamics):
        raise TypeError(f"explore expected a neuron such as LIF(), got {type(neuron).__name__}.")
    name = type(neuron).__name__
    if any(isinstance(part, RecurrentMixin) for part in neuron.modules()):
        raise ValueError(f"explore shows single neurons, but {name} is recurrent; use the layer without recurrence.")
    if not neuron.elementwise:
        raise ValueError(f"explore shows single neurons, but those of {name} influence each other.")
    for key, tensor in tensors_of(neuron).items():
        if tensor.numel() != 1:
            raise ValueError(
                f"explore shows one neuron, but {name}.{key} has shape {tuple(tensor.shape)}; "
                "make a neuron with one number in its place."
            )


def _find_parameters(neuron: Dynamics) -> list[_Place]:
    return [
        _Place(prefix, module, declaration, _shortest(getattr(module, name)))
        for prefix, module in neuron.named_modules()
        if isinstance(module, Dynamics)
        for name, declaration in module.declarations().items()
    ]


def _shortest(value: Tensor) -> float:
    """The number in a tensor, with as many digits as its dtype has."""
    number = value.detach().reshape(()).item()
    return float(str(np.float32(number))) if value.dtype == torch.float32 else number


def _float64_twin(neuron: Dynamics, places: list[_Place]) -> Dynamics:
    """A copy in float64 whose parameters are stored by their own names, and which can be traced."""
    twin = copy.deepcopy(neuron).double()
    for key, tensor in tensors_of(twin).items():
        owner, _, name = key.rpartition(".")
        if tensor.dim():
            twin.get_submodule(owner)._buffers[name] = tensor.detach().reshape(())
            twin.get_submodule(owner)._parameters.pop(name, None)
    for place in places:
        value = torch.tensor(place.value, dtype=torch.float64)
        setattr(twin.get_submodule(place.module), place.declaration.name, nn.Parameter(value, requires_grad=False))
    for module in twin.modules():
        if type(getattr(module, "integrator", None)) is Exact:
            vars(module)["integrator"] = SeriesExact()
    return twin


def _slider(place: _Place, others: list[_Place], ranges: Ranges) -> dict[str, Any]:
    declaration, value = place.declaration, place.value
    limits = declaration.range
    low, high, logarithmic = _slider_range(place, others)
    if place.name in ranges:
        low, high = ranges[place.name]
        for end in (low, high):
            declaration.check(place.owner, torch.tensor(end, dtype=torch.float64))
        if not low < high:
            raise ValueError(
                f"explore: the range of {place.name} must be (low, high) with low < high, got {(low, high)}."
            )
        logarithmic = low > 0 and high >= 10 * low
    seconds = declaration.unit == "s"
    return {
        "name": place.name,
        "keyword": declaration.name,
        "module": place.module,
        "symbol": symbol(declaration.name),
        "meaning": inline(declaration.doc),
        "unit": "ms" if seconds else declaration.unit,
        "scale": 1e3 if seconds else 1,
        "value": value,
        "default": declaration.default,
        "low": low,
        "high": high,
        "logarithmic": logarithmic,
        "above": limits.above,
        "atLeast": limits.at_least,
        "below": limits.below,
        "atMost": limits.at_most,
    }


def _step_size_slider(neuron: Dynamics, places: list[_Place], ranges: Ranges) -> dict[str, Any]:
    """The slider of `dt`, which the model inside all wrappers takes, or a named variant of it."""
    names: list[str] = []
    inner = neuron
    while isinstance(inner, Wrapper) and inner.wraps is None:
        names.append("neuron")
        inner = inner.neuron
    setting = type(inner)._declarations.get("dt")
    declaration = parameter(default=neuron.dt, unit="s", above=0.0, doc="step size")
    declaration.name = "dt"
    slider = _slider(_Place("", neuron, declaration, neuron.dt), places, ranges)
    return slider | {"module": ".".join(names), "default": setting.default if setting else neuron.dt}


def _slider_range(place: _Place, others: list[_Place]) -> tuple[float, float, bool]:
    """The ends of a slider within the declared range, and whether it is logarithmic."""
    limits, value = place.declaration.range, place.value
    if limits.lower is not None and limits.upper is not None:
        inset = _INSET * (limits.upper - limits.lower)
        low = limits.lower + (0.0 if limits.above is None else inset)
        return low, limits.upper - (0.0 if limits.below is None else inset), False
    if limits.above == 0.0:
        return value / _FACTOR, value * _FACTOR, True
    # A parameter that is zero takes its scale from those with the same unit.
    alike = [abs(other.value) for other in others if other.declaration.unit == place.declaration.unit]
    size = abs(value) or max(alike) or 1.0
    if limits.lower is None:
        return value - _SPREAD * size, value + _SPREAD * size, False
    width = 2 * _SPREAD * size
    return limits.lower + (0.0 if limits.above is None else _INSET * width), limits.lower + width, False


def _describe_part(name: str, state: AnyState) -> dict[str, Any]:
    *outer, short = name.split(".")
    for part in outer:
        state = getattr(state, part)
    return {
        "name": name,
        "short": short,
        "meaning": field_comments(type(state)).get(short, ""),
        "shown": "generator" not in outer,
        "potential": short == "v",
    }


def field_comments(state_class: type) -> dict[str, str]:
    """The comment at each field of a state, which describes it; none where the source is not known."""
    try:
        source = inspect.getsource(state_class)
    except (OSError, TypeError):
        return {}
    return dict(re.findall(r"^\s+(\w+):[^#\n]*#\s*(.+)$", source, re.MULTILINE))


def _expression(prefix: str, module: Dynamics) -> dict[str, Any]:
    """How to make a model in Python, without its parameters."""
    import geir

    kind = type(module)
    name = kind.__name__
    namespaces = {"geir": geir, "geir.neurons": geir.neurons, "geir.synapses": geir.synapses}
    path = next((f"{path}.{name}" for path, owner in namespaces.items() if getattr(owner, name, None) is kind), name)
    settings = [
        f"{key}={value!r}"
        for key, declaration in kind._declarations.items()
        if isinstance(declaration, Setting)
        and key not in ("dt", "unroll", "record_states", "neuron")
        and (value := getattr(module, key)) != declaration.default
    ]
    inner = getattr(module, "neuron", None)
    wraps = isinstance(inner, Dynamics)
    return {"path": path, "settings": settings, "inner": f"{prefix}.neuron".lstrip(".") if wraps else None}
