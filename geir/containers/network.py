"""Networks written as plain code, with their state passed through automatically."""

from abc import ABC, abstractmethod

from torch import nn, Tensor

from .lift import call_module, call_over_time, is_container_state, is_stateful
from .time_axis import is_cell, Role


class StateThread:
    """Threads the state of a `Network` through one forward pass.

    `Network.forward` creates a thread from the state of the previous pass and hands it to
    `Network.forward_over_time`. Each time a stateful module is called through the thread, it takes the
    next entry of that state and appends the module's new state. Entries are matched to modules by the
    order of the calls, so a network must call its stateful modules in the same order in every pass. A
    module called twice has two entries: its calls do not share a state.

    Args:
        name: Name of the network, for error messages.
        state: The state that the previous pass returned, or `None` for the resting state of every
            module.

    Raises:
        TypeError: If `state` is not a tuple, or is the state of a single neuron.
    """

    def __init__(self, name: str, state: tuple[object, ...] | None):
        if state is not None and not is_container_state(state):
            raise TypeError(
                f"{name} expected as its state the tuple that its previous call returned, got {type(state).__name__}."
            )
        self._name = name
        self._states = state
        self._next_states: list[object] = []

    def __call__(self, xs: Tensor, *modules: nn.Module) -> Tensor:
        """Run modules in sequence over time.

        Args:
            xs: Input, shape (time, batch, ...).
            *modules: Modules with or without state. A stateless module is applied to all time steps at
                once, as by `Lift`.

        Returns:
            The output of the last module, shape (time, batch, ...).

        Raises:
            ValueError: If the state has no entry left for a stateful module, or a module is a cell.
        """
        for module in modules:
            if is_stateful(module):
                if is_cell(module):
                    kind = type(module).__name__
                    raise ValueError(
                        f"{self._name} runs over time, but {kind} processes one step; use {kind.removesuffix('Cell')}, "
                        f"or Lift({kind}(...)), which steps it through time."
                    )
                xs, next_state = call_module(module, xs, self._next_entry())
                self._next_states.append(next_state)
            else:
                xs, _ = call_over_time(module, xs, ())
        return xs

    def _next_entry(self) -> object:
        if self._states is None:
            return ()
        # One entry is appended to the new state for each entry that is taken from the old one.
        index = len(self._next_states)
        if index >= len(self._states):
            raise ValueError(
                f"{self._name} expected a state with one entry for each call of a stateful module, "
                f"but its state has only {len(self._states)}; pass the state that its previous call returned."
            )
        return self._states[index]

    def finish(self) -> tuple[object, ...]:
        """End the pass.

        Returns:
            The new state: one entry for each call of a stateful module, in the order of the calls.

        Raises:
            ValueError: If entries of the old state were not used.
        """
        if self._states is not None and len(self._states) > len(self._next_states):
            raise ValueError(
                f"{self._name} expected a state with one entry for each of its {len(self._next_states)} calls "
                f"of a stateful module, got {len(self._states)}; pass the state that its previous call returned."
            )
        return tuple(self._next_states)


class Network(nn.Module, ABC):
    """Base class of networks over time that are written as plain code, with any branches and joins.

    Abstract: a subclass defines its modules, with and without state, and `forward_over_time`, which
    calls them through `run`. The state of every module is passed through automatically, and stateless
    modules need no `Lift`, so the keys of the `state_dict` are those of the same network without time.

    >>> import torch
    >>> from geir import LIF
    >>> class Residual(Network):
    ...     def __init__(self, size):
    ...         super().__init__()
    ...         self.linear = nn.Linear(size, size)
    ...         self.neuron = LIF()
    ...
    ...     def forward_over_time(self, xs, run):
    ...         return xs + run(xs, self.linear, self.neuron)
    >>> network = Residual(4)
    >>> ys, state = network(torch.rand(10, 2, 4))
    >>> ys, state = network(torch.rand(10, 2, 4), state)
    >>> list(network.state_dict())[:2]
    ['linear.weight', 'linear.bias']
    """

    @abstractmethod
    def forward_over_time(self, xs: Tensor, run: StateThread) -> Tensor:
        """Compute the output over time.

        Args:
            xs: Input, shape (time, batch, ...).
            run: Calls modules: ``run(xs, *modules)`` returns the output of `modules` in sequence.

        Returns:
            Output over time.
        """

    def time_role(self) -> Role:
        """It takes all steps."""
        return "time"

    def forward(self, xs: Tensor, state: tuple[object, ...] | None = None) -> tuple[Tensor, tuple[object, ...]]:
        """Run over time.

        Args:
            xs: Input, shape (time, batch, ...).
            state: The state that the previous call returned. Default: every module starts from its
                resting state.

        Returns:
            Output over time, and the state: one entry for each call of a stateful module, in the order
            of the calls.

        Raises:
            TypeError: If `state` is not a tuple.
            ValueError: If `state` has a different number of entries.
        """
        run = StateThread(type(self).__name__, state)
        ys = self.forward_over_time(xs, run)
        return ys, run.finish()
