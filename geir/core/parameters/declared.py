"""The base class of modules that declare their parameters and settings as annotated class attributes."""

import copy
import dataclasses
import difflib
import inspect
import re
from collections.abc import Mapping
from types import FunctionType
from typing import Any, ClassVar, dataclass_transform, Self

from torch import nn, Tensor

from ..._runtime.memo import Memo
from ..._util.class_edits import Watched
from ..._util.state import register_state_types
from .parameter import Parameter, parameter
from .setting import plain_setting, Setting, setting

Declaration = Parameter | Setting


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(parameter, setting))
class Declared(nn.Module, metaclass=Watched):
    """An `nn.Module` whose constructor takes the arguments that its class and its base classes declare, by name.

    A class declares an argument by an annotated attribute: `parameter(...)`, `setting(...)` or a plain
    default. When a subclass is defined, this class

    1. collects its declarations; a declared name assigned without annotation, ``dt = 1e-4``, changes the
    inherited default; 2. withdraws inherited declarations that it replaces by a property or annotates as
    `ClassVar`; 3. removes the class attributes of settings, which would hide the attributes of the instances;
    4. sets ``__signature__``, so that `help` and editors show all arguments; 5. lists all arguments in the
    docstring; 6. registers the state type of a generic base class with PyTorch, so that states can be saved.

    Raises:
        TypeError: When a subclass gives a declared name a value that cannot be a default.
    """

    _declarations: ClassVar[Mapping[str, Declaration]] = {}
    _own_declarations: ClassVar[Mapping[str, Declaration | None]] = {}

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        cls._own_declarations = _collect(cls, inherited=_merge(cls.__mro__[1:]))
        cls._declarations = _merge(cls.__mro__)
        cls.__signature__ = cls._make_signature()
        cls.__doc__ = _document(cls)
        register_state_types(cls)

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__()
        object.__setattr__(self, "_memo", Memo())
        for name, value in self._bind_arguments(arguments, keywords).items():
            setattr(self, name, value)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Called once every declared attribute is set."""

    @classmethod
    def _argument_sources(cls) -> tuple[type, ...]:
        """Further classes whose docstrings describe arguments of this class."""
        return ()

    @classmethod
    def _make_signature(cls) -> inspect.Signature:
        """The constructor's arguments: positional settings, then parameters, then other settings."""
        entries = []
        for name, declaration in cls._declarations.items():
            positional = isinstance(declaration, Setting) and not declaration.kw_only
            kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if positional else inspect.Parameter.KEYWORD_ONLY
            entries.append(inspect.Parameter(name, kind, default=declaration.default))

        def rank(entry: inspect.Parameter) -> tuple[int, bool]:
            return entry.kind, not isinstance(cls._declarations[entry.name], Parameter)

        return inspect.Signature(sorted(entries, key=rank))

    @classmethod
    def _bind_arguments(cls, arguments: tuple[object, ...], keywords: dict[str, object]) -> dict[str, Any]:
        """Match arguments to declared names, defaults included."""
        signature = inspect.signature(cls)
        for keyword in keywords.keys() - signature.parameters.keys():
            if keyword in _FOREIGN_NAMES:
                raise TypeError(f"{cls.__name__} has no parameter {keyword!r}: {_FOREIGN_NAMES[keyword]}.")
            close = difflib.get_close_matches(keyword, signature.parameters, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(signature.parameters)}."
            raise TypeError(f"{cls.__name__} has no parameter {keyword!r}. {hint}")
        try:
            bound = signature.bind(*arguments, **keywords)
        except TypeError as error:
            raise TypeError(f"{cls.__name__}: {error}{cls._hint_by_name(signature, arguments)}.") from None
        bound.apply_defaults()
        return bound.arguments

    @classmethod
    def _hint_by_name(cls, signature: inspect.Signature, arguments: tuple[object, ...]) -> str:
        """How to write arguments that were given by position, if they are too many."""
        positional = [entry for entry in signature.parameters.values() if entry.kind != entry.KEYWORD_ONLY]
        if len(arguments) <= len(positional) or not cls.declarations():
            return ""
        hint = f"; give parameters by name, such as {next(iter(cls.declarations()))}=..."
        return hint if positional else f"{hint}, and no number of neurons, which is that of the input"

    def __setattr__(self, name: str, value: Any) -> None:
        declaration = type(self)._declarations.get(name)
        if isinstance(declaration, Parameter):
            return declaration.__set__(self, value)
        if declaration is not None:
            declaration.validate(type(self).__name__, name, value)
        super().__setattr__(name, value)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any, **keywords: Any) -> None:
        for declaration in self.declarations().values():
            declaration.check_state_dict(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *arguments, **keywords)

    def extra_repr(self) -> str:
        texts = []
        for name, declaration in type(self)._declarations.items():
            if isinstance(declaration, Parameter):
                texts.append(declaration.describe(self))
            elif not isinstance(value := getattr(self, name), nn.Module | Tensor) and value != declaration.default:
                texts.append(f"{name}={value!r}")
        return ", ".join(text for text in texts if text)

    def declared_parameters(self) -> dict[str, Tensor]:
        """The values of the declared parameters by name, learnable or not."""
        return {name: getattr(self, name) for name in self.declarations()}

    def with_values(self, values: Mapping[str, Tensor]) -> Self:
        """A shallow copy whose own tensors are these, declared parameters among them by name, and no others."""
        twin = copy.copy(self)
        vars(twin).update(_parameters={}, _buffers=dict(values))
        return twin

    def other_tensors(self) -> dict[str, Tensor]:
        """The module's own parameters and buffers that store no declared parameter, by name."""
        declared: set[str] = set()
        for declaration in self.declarations().values():
            declared |= {declaration.name, declaration.stored_name}
            if declaration.range.transform and declaration.stored_name in self._parameters:
                declared.add(declaration.initial_name)
        own = {**self._parameters, **self._buffers}
        return {name: tensor for name, tensor in own.items() if tensor is not None and name not in declared}

    @classmethod
    def declarations(cls) -> dict[str, Parameter]:
        """The declared parameters by name: default, unit, range."""
        return {name: d for name, d in cls._declarations.items() if isinstance(d, Parameter)}


# Names of parameters in other libraries, and what to write instead.
_NUMBER_OF_NEURONS = "the number of neurons is that of the input; a parameter may be a tensor with one value for each"
_FOREIGN_NAMES = {
    "beta": "a decay per step is tau_mem = -dt / math.log(beta), in seconds, or geir.Leaky(beta=...)",
    "alpha": "a decay per step is tau_syn = -dt / math.log(alpha), in seconds, or geir.SynapticLeaky(alpha=...)",
    "threshold": "the threshold is called v_th",
    "v_threshold": "the threshold is called v_th",
    "spike_threshold": "the threshold is called v_th",
    "tau": "time constants are called by what decays, such as tau_mem, in seconds",
    "tau_mem_inv": "time constants are in seconds, tau_mem = 1 / tau_mem_inv",
    "tau_syn_inv": "time constants are in seconds, tau_syn = 1 / tau_syn_inv",
    "v_leak": "the resting potential is called v_rest",
    "p": "parameters are given one by one, such as LIF(tau_mem=20e-3)",
    "spike_grad": "the surrogate derivative is called surrogate, such as surrogate=geir.surrogates.ATan()",
    "surrogate_function": "the surrogate derivative is called surrogate, such as surrogate=geir.surrogates.ATan()",
    "spike_fn": "the surrogate derivative is called surrogate, such as surrogate=geir.surrogates.ATan()",
    "learn_beta": "write beta=geir.learnable(0.9) or tau_mem=geir.learnable(20e-3)",
    "learn_threshold": "write v_th=geir.learnable(1.0)",
    "init_hidden": "states go in and come out, zs, state = neuron(xs, state); there is nothing to initialize",
    "step_mode": "LIF runs over time, LIFCell makes one step",
    **dict.fromkeys(("num_neurons", "n_neurons", "size", "N"), _NUMBER_OF_NEURONS),
}


def _merge(mro: tuple[type, ...]) -> dict[str, Declaration]:
    """The declarations of a class and its base classes, given in method resolution order."""
    merged: dict[str, Declaration | None] = {}
    for base in reversed(mro):
        own = vars(base).get("_own_declarations", {})
        # A name that a class declares again moves to where that class declares it, so that its arguments keep
        # their order.
        merged = {name: declaration for name, declaration in merged.items() if name not in own} | own
    return {name: declaration for name, declaration in merged.items() if declaration is not None}


def _collect(cls: type[Declared], inherited: Mapping[str, Declaration]) -> dict[str, Declaration | None]:
    """The declarations in the body of a class, and None for inherited ones that it withdraws."""
    annotations = inspect.get_annotations(cls)
    collected: dict[str, Declaration | None] = {}
    for name, value in list(vars(cls).items()):
        withdrawn = isinstance(value, property) and name in inherited
        if withdrawn or _is_class_variable(annotations.get(name)):
            collected[name] = None
        elif name in inherited or (name in annotations and not name.startswith("_")):
            declaration = _declare(cls, name, value, annotations.get(name), inherited.get(name))
            collected[name] = declaration
            if isinstance(declaration, Setting):
                # A class attribute would hide the instance's attribute of this name.
                delattr(cls, name)
            elif declaration is not value:
                setattr(cls, name, declaration)
                declaration.__set_name__(cls, name)
    for name, annotation in annotations.items():
        if _is_class_variable(annotation):
            collected[name] = None
    return collected


def _is_class_variable(annotation: object) -> bool:
    return "ClassVar" in str(annotation)


def _declare(cls: type, name: str, value: object, annotation: object, inherited: Declaration | None) -> Declaration:
    """The declaration made by assigning `value` to `name` in the body of a class."""
    if isinstance(value, Declaration):
        return value
    if isinstance(value, FunctionType | classmethod | staticmethod) and inherited is not None:
        kind = "parameter" if isinstance(inherited, Parameter) else "setting"
        raise TypeError(
            f"{cls.__name__}.{name} is a declared {kind}, not a method; assign a default or rename the method."
        )
    if isinstance(inherited, Parameter):
        if not isinstance(value, int | float):
            raise TypeError(
                f"{cls.__name__}.{name} is a declared parameter; its default must be a number, got {value!r}."
            )
        return inherited.with_default(float(value))
    if isinstance(inherited, Setting):
        inherited.validate(cls.__name__, name, value)
        return dataclasses.replace(inherited, default=value)
    return plain_setting(value, annotation)


_ARGUMENTS = re.compile(r"^Args:\n((?:[ \t]+.*\n?|\n(?=[ \t]))*)", re.MULTILINE)
_AFTER_ARGUMENTS = re.compile(r"^(Returns:|Raises:|>>> )", re.MULTILINE)
_ENTRY = re.compile(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def _document(cls: type[Declared]) -> str:
    """The class docstring with every constructor argument, own and inherited, in its `Args` section."""
    doc = inspect.cleandoc(vars(cls).get("__doc__") or "") or _combine_docstrings(cls)
    described: dict[str, str] = {}
    for base in (*reversed(cls.__mro__), *cls._argument_sources()):
        described |= _argument_entries(inspect.cleandoc(vars(base).get("__doc__") or ""))
    described |= _argument_entries(doc)
    described |= {name: declaration.summary for name, declaration in cls.declarations().items()}
    entries = [f"    {name}: {described[name]}" for name in inspect.signature(cls).parameters if name in described]
    if not entries:
        return doc
    section = "Args:\n" + "\n".join(entry.rstrip() for entry in entries) + "\n"
    if _ARGUMENTS.search(doc):
        return _ARGUMENTS.sub(lambda _: section + "\n", doc, count=1).rstrip("\n") + "\n"
    following = _AFTER_ARGUMENTS.search(doc)
    end = following.start() if following else len(doc)
    return f"{doc[:end].rstrip()}\n\n{section}\n{doc[end:]}".rstrip("\n") + "\n"


def _argument_entries(doc: str) -> dict[str, str]:
    found = _ARGUMENTS.search(doc)
    return dict(_ENTRY.findall(found[1])) if found else {}


def _combine_docstrings(cls: type[Declared]) -> str:
    """A docstring for a class without its own: that of the model, and which mixins it adds."""
    *mixins, model = cls.__bases__
    if not mixins:
        return ""
    added = " and ".join(f"`{mixin.__name__}`" for mixin in mixins)
    return f"`{model.__name__}` with {added}.\n\n" + (inspect.getdoc(model) or "")
