"""One proof for all modules of a container.

In a stream, where a module runs one step at a time, a prepared call of a cell spends most of its time on proving that
nothing has changed. A container proves that for its leading modules at once. As long as they are neurons of geir and
modules of PyTorch, none runs code that could change another, so the proof holds until the last of them has run. Numbers
of parameters are compared right before each neuron runs, as in every prepared call.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import attrgetter, is_
from typing import NamedTuple

from torch import nn, Tensor

from .._runtime.kernels import prepared_calls, PreparedCalls, run_proved, tensor_kinds, TensorKinds
from .._runtime.kernels.watch import arrange, Found, Watch
from .._util.module_calls import calls_forward_only, hooks_of

# How modules of a class are called, and the code of a function.
_definition_of, _code_of = attrgetter("__call__", "_call_impl", "forward"), attrgetter("__code__")


class _Proof(NamedTuple):
    """That nothing has changed since it was made, if all of it holds."""

    places: Found  # of the modules and their attributes, and of all that the prepared calls depend on
    kinds: TensorKinds
    hooks: list[object]  # dictionaries of all modules, which are empty
    classes: list[type[nn.Module]]  # of PyTorch
    definitions: tuple[object, ...]  # of these classes
    forwards: list[object]  # their functions
    codes: list[object]  # of these functions


class JointCalls:
    """The leading modules of a container, run with one proof.

    Args:
        container_modules: All modules of the container.
        modules: Those that lead: neurons of geir, called as it defines it, and modules of PyTorch.
        neurons: Whether each is a neuron.
    """

    def __init__(
        self,
        container_modules: Mapping[str, nn.Module],
        modules: Sequence[nn.Module],
        neurons: Sequence[bool],
    ):
        self._container_modules = container_modules
        self._modules = modules
        self._neurons = neurons
        self._calls: list[PreparedCalls | None] = []  # None of a module of PyTorch
        self._proof: _Proof | None = None

    def hold(self, container_modules: Mapping[str, nn.Module]) -> bool:
        """Whether there is a proof and it holds; these are the modules that the container has now."""
        if self._proof is None:
            return False
        places, kinds, hooks, classes, definitions, forwards, codes = self._proof
        return (
            places.holds(container_modules)
            and kinds.hold()
            and not any(hooks)
            and all(map(is_, definitions, chain.from_iterable(map(_definition_of, classes))))
            and all(map(is_, codes, map(_code_of, forwards)))
        )

    def run(self, x: Tensor, states: Sequence[object]) -> tuple[Tensor, list[object]]:
        """Run the modules up to the first neuron that has no prepared call for its input and state.

        Returns:
            The output of the last module that was run, and the next state of each that was.
        """
        next_states: list[object] = []
        for module, calls, state in zip(self._modules, self._calls, states, strict=False):
            if calls is None:
                x, next_state = module.forward(x), ()
            else:
                # An initial state may be computed by code of the user.
                result = None if state is None else run_proved(calls, module, x, state)
                if result is None:
                    break
                x, next_state = result
            next_states.append(next_state)
        return x, next_states

    def prove(self) -> None:
        """Make a proof, after ordinary calls, if the neurons have the same prepared calls as after the last ones.

        Otherwise they may change with every call, and a proof would never be used.
        """
        before, modules = self._calls, list(zip(self._modules, self._neurons, strict=True))
        self._calls = [prepared_calls(module) if neuron else None for module, neuron in modules]
        same = len(before) == len(self._calls) and all(map(is_, before, self._calls))
        if same and self._proof is not None and self._proof.places.holds(self._container_modules):
            return
        self._proof = None
        if same and all(map(self._runs_by_itself, self._modules, self._neurons, self._calls)):
            prepared = [calls for calls in self._calls if calls is not None]
            watches = [self._watch(), *(calls.watch for calls in prepared)]
            classes = [type(module) for module, neuron in modules if not neuron]
            forwards: list[object] = [kind.forward for kind in classes]
            self._proof = _Proof(
                arrange(watches),
                tensor_kinds([tensor for calls in prepared for tensor in calls.watched]),
                hooks_of(self._modules),
                classes,
                tuple(chain.from_iterable(map(_definition_of, classes))),
                forwards,
                list(map(_code_of, forwards)),
            )

    @staticmethod
    def _runs_by_itself(module: nn.Module, neuron: bool, calls: PreparedCalls | None) -> bool:
        """Whether a neuron has prepared calls, or a module of PyTorch runs only the `forward` of its class."""
        if neuron:
            return calls is not None and calls.watch.is_of(module)
        return calls_forward_only(module) and "forward" not in vars(module) and not any(module.children())

    def _watch(self) -> Watch:
        """Watch over the modules, which are the roots of the other watches, and over the attributes of PyTorch's."""
        watch = Watch()
        watch.add_roots((self._container_modules,))
        watch.add_mapping(self._container_modules)
        for module, neuron in zip(self._modules, self._neurons, strict=True):
            if not neuron:
                watch.add_setting(module)
        return watch
