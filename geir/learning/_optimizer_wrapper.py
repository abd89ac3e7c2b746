"""An optimizer around another one, which changes the gradients that the inner one is given."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor
from torch.optim import Optimizer


class OptimizerWrapper(ABC):
    """Base of optimizers that pass their parameters on to an inner optimizer.

    Args:
        optimizer: The inner optimizer, with the parameters.

    Raises:
        TypeError: If `optimizer` is not an optimizer.
    """

    def __init__(self, optimizer: Optimizer):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__} expected an optimizer such as torch.optim.Adam(model.parameters()), got "
                f"{optimizer!r}."
            )
        self.optimizer = optimizer

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of the inner optimizer."""
        return self.optimizer.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients of all parameters."""
        self.optimizer.zero_grad(set_to_none)

    @abstractmethod
    def step(self) -> None:
        """Update the parameters by their gradients."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """The state of the inner optimizer as `optimizer`, and that of the wrapper."""

    @abstractmethod
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state from `state_dict`."""

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]
