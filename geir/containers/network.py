"""Networks written as plain code, through which the state is threaded."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from .._util.time_distributed import fold_time
from .sequential import call, is_stateful, Lift


class Run:
    """One pass through a network: calls modules, takes their states from those before and collects those after."""

    def __init__(self, name: str, state: Any):
        self._name, self._after = name, []
        if state is not None and (not isinstance(state, tuple | list) or hasattr(state, "_fields")):
            raise TypeError(f"{name} continues from the tuple of states that it returned, got {type(state).__name__}.")
        self._before: Iterator[Any] | None = None if state is None else iter(state)
        self._entries = 0 if state is None else len(state)

    def __call__(self, xs: Any, *modules: nn.Module) -> Any:
        """The output of `modules` in sequence, over time.

        Args:
            xs: Input, shape (time, batch, ...).
            *modules: Each with or without a state; one without is applied to all times at once, as by `Lift`.
        """
        for module in modules:
            if is_stateful(module):
                xs, after = call(module, xs, self._next())
                self._after.append(after)
            else:
                xs = module(xs) if isinstance(module, Lift) else fold_time(module, xs)
        return xs

    def _next(self) -> Any:
        if self._before is None:
            return ()
        try:
            return next(self._before)
        except StopIteration:
            raise ValueError(
                f"{self._name} continues from one state for each call of a module that has one; {self._entries} are too few."
            ) from None

    def finish(self) -> tuple[Any, ...]:
        """The states after the pass, in the order of the calls."""
        if self._entries > len(self._after) and self._before is not None:
            raise ValueError(
                f"{self._name} continues from one state for each call of a module that has one, {len(self._after)}; got {self._entries}."
            )
        return tuple(self._after)


class Stateful(nn.Module):
    """A network over time written as plain code, whose state is threaded for it, whatever branches and joins it has.

    Abstract: a subclass holds modules, with and without state, and writes `connect`, which calls them through `run`. Modules without state
    need no `Lift`, so the names of their weights are those of the same network without time.

    >>> import torch
    >>> from geir import LIF
    >>> class Residual(Stateful):
    ...     def __init__(self, size):
    ...         super().__init__()
    ...         self.linear, self.neuron = nn.Linear(size, size), LIF()
    ...
    ...     def connect(self, xs, run):
    ...         return xs + run(xs, self.linear, self.neuron)
    >>> network = Residual(4)
    >>> ys, state = network(torch.rand(10, 2, 4))
    >>> ys, state = network(torch.rand(10, 2, 4), state)
    >>> list(network.state_dict())[:2]
    ['linear.weight', 'linear.bias']
    """

    def connect(self, xs: Any, run: Run) -> Any:
        """The output over time; modules are called as ``run(xs, *modules)``."""
        raise NotImplementedError(f"{type(self).__name__} does not define `connect`.")

    def forward(self, xs: Any, state: tuple[Any, ...] | None = None) -> tuple[Any, tuple[Any, ...]]:
        """Run over time.

        Args:
            xs: Input, shape (time, batch, ...).
            state: What the previous call returned. Default: every module at rest.

        Returns:
            Output over time, and the state: one entry for each call of a module that has one, in order.

        Raises:
            TypeError: If the state is not a tuple.
            ValueError: If it has another number of entries.
        """
        run = Run(type(self).__name__, state)
        ys = self.connect(xs, run)
        return ys, run.finish()


class LiftedSequential(Stateful, nn.Sequential):  # pyright: ignore[reportIncompatibleMethodOverride]  (`forward` takes a state too)
    """Modules in sequence over time, with their states threaded through and those without state lifted.

    A `SequentialState` in which no `Lift` is written, so that the keys of its state dictionary are those of `torch.nn.Sequential`.

    Args:
        *modules: The modules, or one ordered dictionary of named modules.

    >>> import torch
    >>> from geir import LI, LIF
    >>> model = LiftedSequential(nn.Conv2d(1, 8, 3), LIF(), nn.Flatten(), nn.Linear(288, 10), LI())
    >>> ys, state = model(torch.rand(20, 4, 1, 8, 8))
    >>> ys.shape
    torch.Size([20, 4, 10])
    """

    def connect(self, xs: Any, run: Run) -> Any:
        return run(xs, *self)
