"""Multi-compartment neurons with resistive coupling."""

import torch
from torch import nn, Tensor
from torch.nn import functional

from .._runtime.stepper import Prepared
from .._util.inputs import AnyInput
from .._util.precision import widen
from .._util.state import AnyState, potential, with_potential
from ..core.parameters import setting
from .cell import CellMixin
from .wrapper import Wrapper


class Compartments(Wrapper):
    r"""Any neurons as compartments, coupled by their potentials `v`: ``Compartments(ALIF(), 3)``.

    .. math:: \dot v_k = \ldots + \sum_j G_{kj} (v_j - v_k)

    Before every step of the neurons the coupling is integrated exactly over :math:`\Delta t`; the neurons'
    own dynamics follow, so the splitting is of order 1 in :math:`\Delta t`. Compartments are the last
    dimension of the input. The coupling is not elementwise, so the reference loop is used.

    Args:
        hidden_size: Number of compartments.
        coupling: Rates :math:`G` in 1/s, shape (hidden_size, hidden_size), to each compartment from each; the
            diagonal is ignored. Learnable. Default: 100 / hidden_size between any two.

    Raises:
        TypeError: If the neuron has no potential `v`.
        ValueError: If `coupling` has another shape.
    """

    hidden_size: int = setting(
        kw_only=False, accepts=int, check=lambda size: size > 0, expected="a positive number of compartments"
    )
    coupling: Tensor | None = setting(default=None, accepts=(Tensor, type(None)), expected="a tensor of rates")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_potential()
        given, shape = self.coupling, (self.hidden_size, self.hidden_size)
        if given is not None and given.shape != shape:
            raise ValueError(f"{type(self).__name__}.coupling must have shape {shape}, got {tuple(given.shape)}.")
        if not isinstance(given, nn.Parameter):
            rates = torch.full(shape, 100.0 / self.hidden_size) if given is None else given.detach().clone()
            del self.coupling
            self.register_parameter("coupling", nn.Parameter(rates))

    @property
    def elementwise(self) -> bool:
        return False

    def prepare(self) -> Prepared:
        rates = self.coupling
        assert rates is not None  # set at construction
        rates = widen(rates)
        flow = torch.matrix_exp(self.dt * (rates - torch.diag(rates.sum(1))))
        return flow, self.neuron.prepare()

    def check_parameters(self, x: Tensor) -> None:
        super().check_parameters(x)
        if x.dim() == 0 or x.shape[-1] != self.hidden_size:
            raise ValueError(
                f"{type(self).__name__} has {self.hidden_size} compartments in the last dimension, but one step of "
                f"input has shape {tuple(x.shape)}."
            )

    def step(self, x: AnyInput, state: AnyState, flow: Tensor, inner: Prepared) -> tuple[Tensor, AnyState]:
        v = functional.linear(potential(state), flow)
        return self.neuron.step(x, with_potential(state, v), *inner)


class CompartmentsCell(CellMixin, Compartments): ...
