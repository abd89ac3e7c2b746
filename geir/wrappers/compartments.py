"""Compartments: potentials that flow into one another, for any model."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._util.state import has_potential, potential, with_potential
from ..core.neuron import Dynamics
from ..core.parameters import setting
from ..neurons import LIF
from .forms import CellMixin, RecurrentMixin, Wrapper
from .refractory import Refractoriness


class Coupling(Dynamics[Any]):
    r"""Neurons as compartments, whose potentials `v` flow into one another at the rates :math:`G`:

    .. math:: \dot v_k = \ldots + \sum_j G_{kj} (v_j - v_k).

    Before every step of the model the potentials flow for :math:`\Delta t`, exactly; the model's own flow follows, so the two together are of
    order 1 in :math:`\Delta t`. Compartments are the last dimension of the input. Their product is not elementwise: it runs on the
    reference loop.

    Args:
        hidden_size: Number of compartments.
        coupling: Rates in 1/s, shape (hidden_size, hidden_size), of each compartment from each; the diagonal does not matter. They learn.
            Default: 100 / hidden_size between any two.
    """

    elementwise: ClassVar[bool] = False

    hidden_size: int = setting(
        kw_only=False, accepts=int, check=lambda size: size > 0, expected="a positive number of neurons"
    )
    coupling: Tensor | None = setting(default=None, accepts=(Tensor, type(None)), expected="a tensor of rates")

    def __post_init__(self) -> None:
        super().__post_init__()
        given, shape = self.coupling, (self.hidden_size, self.hidden_size)
        if given is not None and given.shape != shape:
            raise ValueError(f"{type(self).__name__}.coupling must have shape {shape}, got {tuple(given.shape)}.")
        if not isinstance(given, nn.Parameter):
            rates = torch.full(shape, 100.0 / self.hidden_size) if given is None else given.detach().clone()
            del self.coupling
            self.register_parameter("coupling", nn.Parameter(rates))

    def resting_state(self) -> Any:
        rest = super().resting_state()
        if not has_potential(rest):
            raise TypeError(
                f"{type(self).__name__} couples potentials `v`, but {type(rest).__name__} has only {', '.join(rest._fields)}."
            )
        return rest

    def prepare(self) -> tuple[Any, ...]:
        rates: Any = self.coupling
        return (torch.matrix_exp(self.dt * (rates - torch.diag(rates.sum(1)))), *super().prepare())

    def check_parameters(self, x: Tensor) -> None:
        super().check_parameters(x)
        if x.dim() == 0 or x.shape[-1] != self.hidden_size:
            raise ValueError(
                f"{type(self).__name__} has {self.hidden_size} compartments in the last dimension, but one step of input has shape {tuple(x.shape)}."
            )

    def step(self, x: Tensor, state: Any, *prepared: Any) -> tuple[Tensor, Any]:
        flow, *inner = prepared or self.prepare()
        return super().step(x, with_potential(state, functional.linear(potential(state), flow)), *inner)


class Compartments(Coupling, Wrapper):  # pyright: ignore[reportIncompatibleVariableOverride]  (coupled, whatever is wrapped)
    """Any neurons as compartments: ``Compartments(ALIF(), 3)``."""


class CompartmentsCell(CellMixin, Compartments):
    """One step of any neurons as compartments."""


class LIFMC(Coupling, LIF): ...


class LIFMCCell(CellMixin, LIFMC): ...


class LIFMCRecurrent(RecurrentMixin, LIFMC): ...


class LIFMCRecurrentCell(CellMixin, RecurrentMixin, LIFMC): ...


class LIFMCRefrac(Refractoriness, LIFMC): ...


class LIFMCRefracCell(CellMixin, LIFMCRefrac): ...


class LIFMCRefracRecurrent(RecurrentMixin, LIFMCRefrac): ...


class LIFMCRefracRecurrentCell(CellMixin, RecurrentMixin, LIFMCRefrac): ...
