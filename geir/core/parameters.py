"""Modules that declare their parameters: constructor, validation, `repr` and learnability follow."""

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, dataclass_transform

import numpy as np
import torch
from torch import Tensor, nn

Value = float | Tensor | np.ndarray | Sequence[float]


@dataclass(frozen=True)
class Learnable:
    """What `learnable` returns: a value that its parameter will make learnable within its range."""

    value: Value


def learnable(value: Value) -> Any:
    """Make a neuron's parameter learnable, and keep it within its range.

    A parameter that must be positive is stored as the logarithm of its value, one that must lie between two bounds as the logit, any
    other as it is. What is stored is an ordinary `nn.Parameter`, called ``log_tau_mem`` for the parameter ``tau_mem``.

    Args:
        value: Where to start: a number, or a tensor with one value per neuron.

    >>> from geir import LIF
    >>> lif = LIF(tau_mem=learnable(0.02))
    >>> [name for name, _ in lif.named_parameters()]
    ['log_tau_mem']
    >>> lif.tau_mem.item()
    0.0199...
    """
    return Learnable(value)


class Parameter:
    """A declared parameter of a module: read as a tensor, set from a number, a tensor, an `nn.Parameter` or `learnable(...)`."""

    def __init__(
        self,
        default: float,
        unit: str,
        above: float | None,
        below: float | None,
        at_least: float | None,
        learnable: bool,
        doc: str,
    ):
        self.default, self.unit, self.above, self.below, self.at_least, self.learnable, self.doc = (
            default,
            unit,
            above,
            below,
            at_least,
            learnable,
            doc,
        )

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        learnable = " Learnable by default." if self.learnable else ""
        self.__doc__ = f"{self.doc or name}. {self.range} Default: {self.default:g}{self._unit}.{learnable}"

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    @property
    def range(self) -> str:
        """The range in words, such as `Must be > 0 s.`; empty if unbounded."""
        bounds = [(">", self.above), (">=", self.at_least), ("<", self.below)]
        words = " and ".join(f"{sign} {bound}{self._unit}" for sign, bound in bounds if bound is not None)
        return f"Must be {words}." if words else ""

    @property
    def _stored(self) -> str | None:
        """Name under which the transformed value of a `learnable` is stored, if it needs a transform."""
        if self.below is not None:
            return f"logit_{self.name}"
        return f"log_{self.name}" if self._lowest is not None else None

    @property
    def _lowest(self) -> float | None:
        return self.above if self.above is not None else self.at_least

    def _store(self, value: Tensor) -> Tensor:
        above = value - (self._lowest or 0.0)
        if self.below is not None:
            return torch.logit(above / (self.below - (self._lowest or 0.0)))
        return value if self._lowest is None else torch.log(above)

    def _read(self, stored: Tensor) -> Tensor:
        lowest = self._lowest or 0.0
        if self.below is not None:
            return lowest + (self.below - lowest) * torch.sigmoid(stored)
        return lowest + torch.exp(stored)

    def __get__(self, module: Any, owner: type | None = None) -> Tensor:
        if module is None:
            return self  # pyright: ignore[reportReturnType]  (on the class: the declaration)
        for tensors in (module._parameters, module._buffers):
            if self.name in tensors:
                return tensors[self.name]
        if self._stored in module._parameters:
            return self._read(module._parameters[self._stored])
        raise AttributeError(f"{type(module).__name__}.{self.name} is not set yet.")

    def __set__(self, module: Any, value: Any) -> None:
        if self.learnable and not isinstance(value, Learnable | nn.Parameter):
            value = Learnable(value)
        given = value.value if isinstance(value, Learnable) else value
        tensor = self._tensor(module, given)
        self.check(module, tensor)
        name = self.name
        if isinstance(value, Learnable):
            name = self._stored or name
            if name != self.name and bool((tensor.detach() == self._lowest).any()):
                raise ValueError(
                    f"{self._of(module)} is learnable only > {self._lowest}{self._unit}, got {self._lowest}."
                )
            tensor = nn.Parameter(self._store(tensor.detach().clone()))
        for tensors in (module._parameters, module._buffers):
            tensors.pop(self.name, None)
            tensors.pop(self._stored, None)
        if isinstance(tensor, nn.Parameter):
            module.register_parameter(name, tensor)
        else:
            module.register_buffer(name, tensor.clone())

    def _of(self, module: Any) -> str:
        return f"{type(module).__name__}.{self.name}"

    def _tensor(self, module: Any, value: Any) -> Tensor:
        if isinstance(value, Tensor):
            return value if value.is_floating_point() else value.to(torch.get_default_dtype())
        try:
            return torch.as_tensor(np.asarray(value, dtype=np.float64), dtype=torch.get_default_dtype())
        except (TypeError, ValueError):
            raise TypeError(f"{self._of(module)} must be a number or a tensor, got {value!r}.") from None

    def check(self, module: Any, value: Tensor) -> None:
        """Raise `ValueError` unless every element is a number within the range."""
        if value.is_meta:
            return
        value = value.detach()
        wrong = value.isnan()
        if bool(wrong.any()):
            count = f" in {int(wrong.sum())} of {wrong.numel()} places" if wrong.numel() > 1 else ""
            raise ValueError(f"{self._of(module)} must be a number, got nan{count}.")
        bounds = [(">", self.above, torch.le), (">=", self.at_least, torch.lt), ("<", self.below, torch.ge)]
        for sign, bound, violates in bounds:
            if bound is not None and bool((wrong := violates(value, bound)).any()):
                worst = float(f"{value[wrong].flatten()[0].item():.6g}")
                raise ValueError(f"{self._of(module)} must be {sign} {bound}{self._unit}, got {worst}.")

    def check_stored(self, module: Any, state_dict: dict[str, Any], prefix: str) -> None:
        """Raise `ValueError` if a state dictionary holds a value out of range for this parameter."""
        if isinstance(value := state_dict.get(prefix + self.name), Tensor):
            self.check(module, value)
        if isinstance(stored := state_dict.get(f"{prefix}{self._stored}"), Tensor):
            self.check(module, self._read(stored))

    def describe(self, module: Any) -> str | None:
        """`name=value` for the module's `repr`, or None if it is the default."""
        value, changes = self.__get__(module), self.name not in module._buffers
        if (
            not changes
            and value.dim() == 0
            and not value.is_meta
            and value.item() in (self.default, float(np.float32(self.default)))
        ):
            return None
        text = (
            f"{value.item():.6g}" if value.dim() == 0 and not value.is_meta else f"tensor of shape {tuple(value.shape)}"
        )
        return f"{self.name}=learnable({text})" if changes else f"{self.name}={text}"


def parameter(
    *,
    default: float,
    unit: str = "",
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    learnable: bool = False,
    doc: str = "",
) -> Any:
    """Declare a parameter: a buffer, or learnable if set to an `nn.Parameter` or to `learnable(...)`.

    Args:
        default: Value if none is given.
        unit: SI unit, for messages and documentation.
        above: Lower bound, excluded.
        at_least: Lower bound, included.
        below: Upper bound, excluded; needs a lower bound.
        learnable: Whether it is learnable whatever it is set to, because learning it is what the model is about.
        doc: What it is, in a few words.
    """
    if above is not None and at_least is not None:
        raise ValueError("parameter() takes `above` or `at_least`, not both.")
    if below is not None and above is None and at_least is None:
        raise ValueError("parameter(below=...) needs a lower bound too: give `above` or `at_least`.")
    return Parameter(default, unit, above, below, at_least, learnable, doc)


@dataclass(frozen=True)
class Setting:
    """A declared attribute that is not a tensor."""

    default: Any
    kw_only: bool
    accepts: Any
    check: Callable[[Any], bool]
    expected: str

    def validate(self, module: Any, name: str, value: Any) -> None:
        if self.accepts is not None and not isinstance(value, self.accepts):
            raise TypeError(f"{type(module).__name__}.{name} must be {self.expected}, got {value!r}.")
        if not self.check(value):
            raise ValueError(f"{type(module).__name__}.{name} must be {self.expected}, got {value!r}.")


def setting(
    *,
    default: Any = inspect.Parameter.empty,
    kw_only: bool = True,
    accepts: Any = None,
    check: Callable[[Any], bool] = lambda value: True,
    expected: str = "",
) -> Any:
    """Declare a constructor argument that is not a tensor.

    Args:
        default: Value if none is given; without one it must be given.
        kw_only: Whether it must be given by name.
        accepts: Type or types of its value.
        check: Whether a value of that type is valid.
        expected: What is expected, for the error message.
    """
    return Setting(default, kw_only, accepts, check, expected)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(parameter, setting))
class Declared(nn.Module):
    """An `nn.Module` whose constructor takes what its class and the classes above it declare, by name.

    A class declares by annotated attributes: `parameter(...)`, `setting(...)` or a plain default. An inherited declaration is withdrawn by
    a property of its name, or by annotating the name as `ClassVar`.
    """

    _declared: dict[str, Parameter | Setting] = {}  # noqa: RUF012  (replaced, never changed, by each subclass)

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        own: dict[str, Parameter | Setting | None] = {}
        for name, value in vars(cls).items():
            if isinstance(value, property) and name in cls._declared:
                own[name] = None
        for name, annotation in inspect.get_annotations(cls).items():
            value = vars(cls).get(name, inspect.Parameter.empty)
            if "ClassVar" in str(annotation):
                own[name] = None
            elif not name.startswith("_") and value is not inspect.Parameter.empty:
                inherited = cls._declared.get(name)
                if not isinstance(value, Parameter | Setting):
                    value = (
                        dataclasses.replace(inherited, default=value)
                        if isinstance(inherited, Setting)
                        else _plain(value, annotation)
                    )
                own[name] = value
                if isinstance(value, Setting):
                    # A class attribute would hide the module's own entry of this name.
                    delattr(cls, name)
        cls._own = own
        if cls.__doc__ is None and len(cls.__bases__) > 1:
            *mixins, model = cls.__bases__
            added = " and ".join(f"`{mixin.__name__}`" for mixin in mixins)
            cls.__doc__ = "\n\n".join(
                [f"`{model.__name__}` with {added}.", *(inspect.getdoc(mixin) or "" for mixin in mixins)]
            )
        merged: dict[str, Parameter | Setting | None] = {}
        for own in (vars(c).get("_own", {}) for c in reversed(cls.__mro__)):
            # What a class declares again stands where it says, so that its own arguments stay in its own order.
            merged = {name: declaration for name, declaration in merged.items() if name not in own} | own
        cls._declared = {name: declaration for name, declaration in merged.items() if declaration is not None}
        cls.__signature__ = _signature(cls._declared)

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__()
        name, declared = type(self).__name__, type(self)._declared
        for keyword in keywords.keys() - declared.keys():
            close = difflib.get_close_matches(keyword, declared, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(declared)}."
            raise TypeError(f"{name} has no parameter {keyword!r}. {hint}")
        try:
            bound = inspect.signature(type(self)).bind(*arguments, **keywords)
        except TypeError as error:
            raise TypeError(f"{name}: {error}.") from None
        bound.apply_defaults()
        for key, value in bound.arguments.items():
            setattr(self, key, value)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Called once every declared attribute is set."""

    def __setattr__(self, name: str, value: Any) -> None:
        declaration = type(self)._declared.get(name)
        if isinstance(declaration, Parameter):
            return declaration.__set__(self, value)
        if declaration is not None:
            declaration.validate(self, name, value)
        super().__setattr__(name, value)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any, **keywords: Any) -> None:
        for declaration in self.declarations().values():
            declaration.check_stored(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *arguments, **keywords)

    def extra_repr(self) -> str:
        texts = []
        for name, declaration in type(self)._declared.items():
            if isinstance(declaration, Parameter):
                texts.append(declaration.describe(self))
            elif not isinstance(value := getattr(self, name), nn.Module | Tensor) and value != declaration.default:
                texts.append(f"{name}={value!r}")
        return ", ".join(text for text in texts if text)

    def declared_parameters(self) -> dict[str, Tensor]:
        """The declared parameters by name, as values, whether learnable or not."""
        return {name: getattr(self, name) for name, d in type(self)._declared.items() if isinstance(d, Parameter)}

    @classmethod
    def declarations(cls) -> dict[str, Parameter]:
        """The declared parameters by name: default, unit, range."""
        return {name: d for name, d in cls._declared.items() if isinstance(d, Parameter)}


def _plain(default: Any, annotation: Any) -> Setting:
    """The option that a plain default declares: it accepts what its annotation says, where that is a class."""
    accepts = (float, int) if annotation is float else annotation if isinstance(annotation, type) else None
    expected = (
        "True or False"
        if annotation is bool
        else f"of type {getattr(annotation, '__name__', annotation)}, such as {default!r}"
    )
    return setting(default=default, accepts=accepts, expected=expected)


def _signature(declared: dict[str, Parameter | Setting]) -> inspect.Signature:
    keyword, positional = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    entries = [
        inspect.Parameter(name, positional if isinstance(d, Setting) and not d.kw_only else keyword, default=d.default)
        for name, d in declared.items()
    ]
    return inspect.Signature(
        sorted(entries, key=lambda entry: (entry.kind, not isinstance(declared[entry.name], Parameter)))
    )
