"""Parse a model into layers for online learning, and check that a rule can train them."""

from collections.abc import Iterator
from typing import Any

from torch import nn, Tensor
from torch.nn.utils.parametrize import is_parametrized

from .._util.parametrized import without_parametrizations
from ..containers import Lift, SequentialState
from ..containers.constant_input import is_modified
from ..core.neuron import Dynamics
from ..wrappers import CellMixin, RecurrentMixin, Wrapper
from ._linearize import flow_of, neuron_parameters
from ._model import is_connection, Layer, Plan
from .rules import DECOLLE, EProp, OnlineRule, OTTT, Random

# Modules without parameters and state between layers. The first are linear, so a leaky readout can be applied before
# or after them.
LINEAR = (nn.Identity, nn.Flatten, nn.Unflatten, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
LINEAR += (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
OTHER = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.ReLU, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
CONTAINERS = (Lift, SequentialState, nn.Sequential)
NORMALIZATION = (nn.modules.batchnorm._NormBase,)


def modules_of(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules of a sequence by name, without the containers and `Lift`s around them."""
    # Not `named_children`, which skips a module that comes twice.
    for name, module in model._modules.items():
        assert module is not None  # a sequence has no such entry
        while type(module) is Lift:
            module = module.module
        if type(module) in CONTAINERS:
            yield from modules_of(module, f"{prefix}{name}.")
        else:
            yield prefix + name, module


def parse(model: SequentialState, rule: OnlineRule) -> Plan:
    """The layers of a model.

    Raises:
        TypeError: If the rule cannot be applied to a module.
        ValueError: If a container has `return_hidden=True`.
    """
    for name, container in model.named_modules():
        if type(container) in CONTAINERS and is_modified(container):
            raise TypeError(
                f"Online with {rule} cannot learn module {name or 'model'}, {type(container).__name__}: it has hooks "
                "or overrides `forward`, which a step would not call; remove them."
            )
        if isinstance(container, SequentialState) and container.return_hidden:
            raise ValueError(
                f"Online with {rule} returns the output of the last module, but the model has return_hidden=True; "
                "build it without."
            )
    modules = list(modules_of(model))
    layers: list[Layer] = []
    pending: list[nn.Module] = []
    for k, (name, module) in enumerate(modules):
        previous = modules[k - 1][1] if k else None
        problem = _problem(module, previous)
        if problem is None and isinstance(module, Dynamics):
            recurrent = isinstance(module, RecurrentMixin)
            connection: Any = None if recurrent else without_parametrizations(pending.pop())
            neuron: Any = without_parametrizations(module)
            layers.append(Layer(name, neuron, connection, pending))
            problem = _neuron_problem(layers[-1], rule)
            pending = []
        else:
            pending.append(module)
        if problem is not None:
            raise TypeError(f"Online with {rule} cannot learn module {name}, {type(module).__name__}: {problem}")
    plan = Plan(layers, pending)
    _check_connections(plan, rule)
    _check_sharing(modules, rule)
    _check_readout(plan, rule)
    return plan


def _problem(module: nn.Module, previous: nn.Module | None) -> str | None:
    """Why a module cannot be where it is, or None."""
    if is_modified(module):
        return "it has hooks or overrides `forward`, which a step would not call; remove them."
    if isinstance(module, NORMALIZATION):
        return (
            "it needs statistics over time or over the batch, which one step does not have; "
            "use weights without batch normalization."
        )
    if isinstance(module, Dynamics):
        if not module.elementwise:
            return "its step is not elementwise, so its neurons have no separate derivatives."
        if any(isinstance(part, RecurrentMixin) for part in module.modules() if part is not module):
            return (
                "it is around a recurrent layer; make the wrapper recurrent instead, as in "
                "Recurrent(Refractory(LIF()), 4, 4)."
            )
        parametrized = [name for name, part in module.named_modules() if name and is_parametrized(part)]
        if parametrized:
            return (
                f"its part {parametrized[0]} is parametrized; remove that with "
                "torch.nn.utils.parametrize.remove_parametrizations, or parametrize weights of the neurons themselves."
            )
        own = [name for name in ("forward", "transform_input") if _overrides(type(module), name)]
        if own:
            return f"it defines {own[0]}, which a step would not call; define only `step`."
        if Tensor not in module.input_types:
            return "it has several receptors, whose inputs have no traces; use backpropagation through time."
        if isinstance(module, RecurrentMixin) or is_connection(previous):
            return None
        return "neurons must come directly after torch.nn.Linear or torch.nn.Conv2d, which holds their weights."
    if is_connection(module) or type(module) in (*LINEAR, *OTHER):
        return None
    return (
        "expected torch.nn.Linear or torch.nn.Conv2d, directly after it elementwise neurons, recurrent neurons, "
        "pooling, Flatten or Dropout; use backpropagation through time for other modules."
    )


def _overrides(kind: type[Dynamics], name: str) -> bool:
    """Whether a class of neurons defines a method that the library's base classes define."""
    bases = (Dynamics, Wrapper, CellMixin, RecurrentMixin)
    return getattr(kind, name) not in [getattr(base, name) for base in bases]


def _neuron_problem(layer: Layer, rule: OnlineRule) -> str | None:
    """Why the rule cannot learn a layer, or None."""
    neuron = layer.neuron
    if isinstance(neuron, RecurrentMixin):
        for name, weights in (("input", neuron.input_weights), ("recurrent", neuron.recurrent_weights)):
            if type(weights) is not nn.Linear and not isinstance(weights, Tensor):
                return f"its {name} weights are {type(weights).__name__}; expected a tensor or torch.nn.Linear."
    if isinstance(layer.connection, nn.Conv2d):
        c = layer.connection
        if c.groups != 1 or isinstance(c.padding, str) or c.padding_mode != "zeros":
            return "the convolution before it has groups, padding by name or padding other than zeros."
    if isinstance(rule, OTTT | DECOLLE):
        flow = flow_of(neuron)
        if flow is None:
            return (
                "the rule has one trace for every presynaptic neuron, so it needs neurons given by an affine "
                "differential equation; use EProp()."
            )
        wide = [name for name, value in flow.declared_parameters().items() if value.dim()]
        if wide:
            return (
                "the rule has one trace for every presynaptic neuron, so all neurons of the layer must have the same "
                f"parameters, but {', '.join(wide)} has one value per neuron; use EProp()."
            )
    return None


def _check_connections(plan: Plan, rule: OnlineRule) -> None:
    """Weights must have neurons behind them, or come after the last layer, where one step is all there is."""
    for layer in plan.layers:
        for module in layer.before:
            if is_connection(module):
                raise TypeError(
                    f"Online with {rule} cannot learn the {type(module).__name__} before module {layer.name}, "
                    f"{type(layer.neuron).__name__}: it is not directly followed by neurons, so it would have no "
                    "traces; remove it, or put neurons after it."
                )
    if isinstance(rule, DECOLLE) and plan.head:
        raise TypeError(
            f"Online with {rule} adds a readout to every layer, and learns from these; remove the "
            f"{type(plan.head[-1]).__name__} after the last neurons."
        )


def _check_sharing(modules: list[tuple[str, nn.Module]], rule: OnlineRule) -> None:
    seen: dict[int, str] = {}
    for name, module in modules:
        for parameter in module.parameters():
            if (other := seen.setdefault(id(parameter), name)) != name:
                raise TypeError(
                    f"Online with {rule} cannot learn module {name}, {type(module).__name__}: it shares a parameter "
                    f"with module {other}, whose traces are different; copy one of them."
                )


def _check_readout(plan: Plan, rule: OnlineRule) -> None:
    """A readout that filters must be the same for all outputs, and linear modules come before it."""
    broadcast = isinstance(rule, EProp) and isinstance(rule.feedback, Random)
    direct = plan.layers if isinstance(rule, DECOLLE) else plan.hidden() if broadcast else []
    if any(layer.channel == -3 for layer in direct):
        raise TypeError(
            f"Online with {rule} cannot learn a convolution: weights between its neurons and the output need their "
            "number, which depends on the size of the input; use EProp(), OTTT() or SLTT()."
        )
    if not plan.filtered(rule):
        return
    last = plan.layers[-1]
    where = f"Online with {rule} cannot learn with module {last.name}, {type(last.neuron).__name__}, as readout: "
    values = dict(_declared(last.neuron)) | neuron_parameters(last.neuron)
    wide = [name for name, value in values.items() if value.dim()]
    if last.recurrent or wide:
        reason = "it is recurrent" if last.recurrent else f"{wide[0]} has one value per neuron"
        raise TypeError(
            f"{where}{reason}, so it does not filter the eligibilities of the layer below by one filter; use one value "
            "for all neurons, end with torch.nn.Linear, or use OTTT() or SLTT(), which do not filter."
        )
    if last.channel == -3:
        raise TypeError(f"{where}it comes after a convolution; end with torch.nn.Linear and the readout.")
    for module in last.before:
        if type(module) not in LINEAR and not broadcast:
            raise TypeError(
                f"{where}{type(module).__name__} before it is not linear, so the eligibilities of the layer below "
                "cannot be filtered; use average pooling, end with torch.nn.Linear, or use OTTT() or SLTT()."
            )


def _declared(neuron: Dynamics) -> Iterator[tuple[str, Tensor]]:
    for part in neuron.modules():
        if isinstance(part, Dynamics):
            yield from part.declared_parameters().items()
