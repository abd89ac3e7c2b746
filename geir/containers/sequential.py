"""Modules in sequence, with and without state."""

import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any, NamedTuple, Self

from torch import nn, Tensor

from .._runtime.kernels import is_special, run_prepared
from .._util.class_edits import Edits, Watched
from .._util.module_calls import calls_forward_only, is_call_unobserved, is_code_of_torch
from ..core.neuron import Neuron
from ..wrappers.cell import CellMixin
from .joint_calls import JointCalls
from .lift import (
    call_module,
    call_over_time,
    is_container_state,
    is_stateful,
    leading_lifted,
    Lift,
    run_constant_input,
)
from .time_axis import check_sequence, Role
from .time_chunks import is_large, run_in_chunks


class _Known(NamedTuple):
    """Modules that have been checked, and what they were then."""

    lift: bool
    modules: list[nn.Module]
    kinds: list[type[nn.Module]]
    stateful: list[bool | None]  # None if it may change while module and class stay
    neurons: list[bool]  # whether they are neurons of geir, called as it defines it
    plain: list[bool]  # whether they are other modules, called as PyTorch defines it
    edits: int  # of classes of geir
    classes: list[type[nn.Module]]  # each other class once
    definitions: list[object]  # of these classes
    joint: JointCalls | None  # of the leading modules; None if the container takes all steps, or without neurons


def _definitions_of(classes: list[type[nn.Module]]) -> list[object]:
    """How the modules of each class are called, and the code of `forward`; TorchScript has none in Python."""
    definitions: list[object] = []
    for kind in classes:
        code = getattr(getattr(kind, "forward", None), "__code__", None)
        definitions += (kind.__call__, kind._call_impl, code)
    return definitions


class SequentialState(nn.Sequential):
    """Run modules in sequence and pass each stateful module its state.

    Modules with and without state may be mixed. Stateful modules are neurons, cells, wrappers, `Lift`,
    PyTorch's recurrent modules, nested containers, and any module whose `forward` takes an argument
    `state` after its input.

    By default every module receives its input unchanged: either all modules process one step (cells),
    or all run over time (neurons, and stateless modules wrapped in `Lift`). With ``lift=True`` the
    input is over time, (time, batch, ...), and stateless modules are lifted automatically. No `Lift`
    appears in the network then, so the keys of its `state_dict` are those of the same
    `torch.nn.Sequential`. Stateful modules must run over time; write a cell as ``Lift(cell)``.

    Slices (``model[:2]``), sums and multiples keep the class and both settings.

    Args:
        *modules: The modules, or one `OrderedDict` of named modules.
        lift: Whether to apply stateless modules to all time steps at once, as `Lift` does.
        return_hidden: Whether to return the list of the outputs of all modules instead of the output of
            the last one.

    Raises:
        ValueError: If cells stand beside modules over time, or, without ``lift=True``, a module such as
            `torch.nn.Flatten`, which takes the second dimension of its input for features, beside a `Lift`.

    Warns:
        UserWarning: When it is called, if such a module stands beside neurons over time: it is wrong unless the input
            has no batch.

    One step at a time:

    >>> import torch
    >>> from geir import LI, LIF, LICell, LIFCell
    >>> model = SequentialState(nn.Linear(3, 4), LIFCell(), nn.Linear(4, 2), LICell())
    >>> state = None
    >>> for x in torch.ones(10, 1, 3):
    ...     y, state = model(x, state)
    >>> y.shape
    torch.Size([1, 2])

    Over time:

    >>> model = SequentialState(nn.Conv2d(1, 8, 3), LIF(), nn.Flatten(), nn.Linear(288, 10), LI(), lift=True)
    >>> ys, state = model(torch.rand(20, 4, 1, 8, 8))
    >>> ys.shape
    torch.Size([20, 4, 10])
    """

    _known: _Known | None = None

    def __init__(self, *modules: Any, lift: bool = False, return_hidden: bool = False):
        super().__init__(*modules)
        self.lift = lift
        self.return_hidden = return_hidden
        self._role: Role
        self._warning: str | None
        self._check_modules()

    def _check_modules(self) -> _Known:
        """Check which modules run over time and which have a state, unless they are those that were checked last."""
        known = self._known
        modules = self._modules.values()
        if (
            known is None
            or known.lift is not self.lift
            or known.edits != Edits.count
            or len(known.modules) != len(modules)
            or not all(map(is_, known.modules, modules))
            or not all(map(is_, known.kinds, map(type, modules)))
            or not all(map(is_, known.definitions, _definitions_of(known.classes)))
        ):
            self._role, self._warning = check_sequence(type(self).__name__, self._modules.items(), self.lift)
            self._known = known = _find(self._modules, self.lift, self._role)
        return known

    def __getstate__(self) -> dict[str, Any]:
        # A copy checks its own modules.
        return {name: value for name, value in vars(self).items() if name != "_known"}

    def time_role(self) -> Role:
        """Whether the container takes all steps or one."""
        self._check_modules()
        return self._role

    def append(self, module: nn.Module) -> Self:
        """Append a module; raises as the constructor does."""
        super().append(module)
        self._check_modules()
        return self

    def insert(self, index: int, module: nn.Module) -> Self:
        """Insert a module before an index; raises as the constructor does."""
        super().insert(index, module)
        self._check_modules()
        return self

    # The base class calls its input `input`; containers and neurons call theirs `x`.
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, state: tuple[object, ...] | None = None
    ) -> tuple[Tensor | list[Tensor], tuple[object, ...]]:
        """Run the modules in sequence.

        Args:
            x: Input of the first module. With `lift`, shape (time, batch, ...).
            state: The state that the previous call returned. Default: every module starts from its
                resting state.

        Returns:
            The output of the last module, or with `return_hidden` the list of the outputs of all
            modules; and the state, a tuple with one entry per module, `()` for a stateless one.

        Raises:
            ValueError: If `state` is not a tuple with one entry per module.
        """
        known = self._known
        direct, return_hidden = is_call_unobserved() and not is_special(), self.return_hidden
        next_states: list[object] = []
        joint = known.joint if known is not None and direct and not (self.lift or return_hidden) else None
        states = state if type(state) is tuple and len(state) == len(self._modules) else None
        if joint is not None and states is not None and joint.hold(self._modules):
            x, next_states = joint.run(x, states)
            if len(next_states) == len(states):
                return x, tuple(next_states)
        known = self._check_modules()
        if self._warning is not None:
            warnings.warn(self._warning, UserWarning, stacklevel=2)
        modules, stateful, neurons, plain = known.modules, known.stateful, known.neurons, known.plain
        lift, joint = known.lift, known.joint
        states = self._check_state(state) if states is None else states
        # The outputs that `return_hidden` returns are ordinary tensors, so each `Lift` makes its own.
        lifts = not return_hidden and (lift or Lift in known.kinds)
        if lifts and (lift or known.kinds[0] is Lift):
            x, count = run_constant_input(modules, x, lift)
            next_states = [()] * count
        if count := len(next_states):
            modules, stateful, states = modules[count:], stateful[count:], states[count:]
            neurons, plain = neurons[count:], plain[count:]
        call = call_over_time if lift else call_module
        outputs: list[Tensor] = []
        module, result, chunked = None, None, 0
        try:
            for index, (module, has_state, is_neuron, is_plain, module_state) in enumerate(
                zip(modules, stateful, neurons, plain, states, strict=True)
            ):
                if lifts and not (chunked or is_neuron) and is_large(x):
                    x, chunked = run_in_chunks(leading_lifted(modules[index:], lift), x)
                if chunked:
                    chunked -= 1
                    next_states.append(())
                    continue
                if direct and is_neuron and type(module_state) is not tuple and calls_forward_only(module):
                    result = run_prepared(module, x, module_state)
                if result is not None:
                    (x, next_state), result = result, None
                elif has_state is False and not lift:
                    to_forward = direct and is_plain and calls_forward_only(module)
                    x, next_state = module.forward(x) if to_forward else module(x), ()
                else:
                    x, next_state = call(module, x, module_state, has_state)
                next_states.append(next_state)
                if return_hidden:
                    outputs.append(x)
        except Exception as error:
            self._add_note(module, error)
            raise
        if joint is not None and direct:
            joint.prove()
        return outputs if return_hidden else x, tuple(next_states)

    def _add_note(self, module: nn.Module | None, error: Exception) -> None:
        """Name `Lift` where a module of one step may have been given all steps."""
        if module is not None and not self.lift and not is_stateful(module) and self._role == "time":
            kind = type(module).__name__
            error.add_note(
                f"{type(self).__name__} passed {kind} its input as it is. If the input is over time, "
                f"(time, batch, ...), apply {kind} to every step with lift=True, or with Lift({kind}(...))."
            )

    def _check_state(self, state: object) -> Sequence[object]:
        if state is None:
            return ((),) * len(self)
        if is_container_state(state):
            if len(state) == len(self):
                return state
            given = f"a tuple with {len(state)} entries"
        else:
            given = type(state).__name__
        raise ValueError(
            f"{type(self).__name__} expected as its state a tuple with one entry for each of its {len(self)} modules, "
            f"got {given}; pass the state that its previous call returned."
        )

    def __getitem__(self, index: slice | int) -> Any:
        """A module by index, or the container of a slice of modules."""
        if isinstance(index, slice):
            return self._with_settings(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)

    def __add__(self, other: nn.Sequential) -> Self:
        """The container of the modules of both, with the settings of this one."""
        return self._with_settings(*super().__add__(other))

    def __mul__(self, times: int) -> Self:
        """The container of the modules repeated, with the settings of this one."""
        return self._with_settings(*(module for _ in range(times) for module in self))

    def _with_settings(self, *modules: Any) -> Self:
        return type(self)(*modules, lift=self.lift, return_hidden=self.return_hidden)

    def extra_repr(self) -> str:
        settings = {"lift": self.lift, "return_hidden": self.return_hidden}
        return ", ".join(f"{name}=True" for name, value in settings.items() if value)


def _find(named: Mapping[str, nn.Module], lift: bool, role: Role) -> _Known:
    modules = list(named.values())
    kinds = list(map(type, modules))
    of_geir = [isinstance(kind, Watched) and kind.__module__.startswith("geir.") for kind in kinds]
    calls = nn.Module.__call__, nn.Module._call_impl
    as_torch = [(kind.__call__, kind._call_impl) == calls for kind in kinds]
    neurons = [
        known and called and kind.forward in (Neuron.forward, CellMixin.forward)
        for kind, known, called in zip(kinds, of_geir, as_torch, strict=True)
    ]
    plain = [called and not known for known, called in zip(of_geir, as_torch, strict=True)]
    classes = list(dict.fromkeys(kind for kind, known in zip(kinds, of_geir, strict=True) if not known))
    stateful = list(map(_has_state, modules))
    count = 0
    for kind, is_neuron, is_plain, has_state in zip(kinds, neurons, plain, stateful, strict=True):
        if not (is_neuron or (is_plain and has_state is False and is_code_of_torch(kind))):
            break
        count += 1
    joint = None
    if role != "time" and not lift and any(neurons[:count]):
        joint = JointCalls(named, modules[:count], neurons[:count])
    definitions = _definitions_of(classes)
    return _Known(lift, modules, kinds, stateful, neurons, plain, Edits.count, classes, definitions, joint)


def _has_state(module: nn.Module) -> bool | None:
    """Whether a module is stateful; None if that does not follow from its class."""
    # That of a `Lift` depends on its module, and with a wrapped `forward` it depends on the wrapped one.
    depends = isinstance(module, Lift) or hasattr(getattr(type(module), "forward", None), "__wrapped__")
    return None if depends else is_stateful(module)
