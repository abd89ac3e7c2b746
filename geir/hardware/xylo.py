"""The leaky integrate-and-fire neuron of Xylo, in its integer arithmetic."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.neuron import Neuron
from ..core.parameters import Parameter, parameter, setting
from ..core.resets import ResetBySubtraction
from ..wrappers import CellMixin, RecurrentMixin
from .rounding import check_integers, exact_step

# Potential and current have 16 bits.
STATE_LIMIT = 2**15


class XyloState(NamedTuple):
    v: Tensor  # membrane potential, an integer
    i: Tensor  # synaptic current, an integer


class XyloConstants(NamedTuple):
    """A neuron's numbers, and the distance from rest to threshold of the model it stands for."""

    leak_syn: Tensor  # 2^-dash
    leak_mem: Tensor  # 2^-dash
    v_th: Tensor
    bias: Tensor
    distance: Tensor


class XyloLIF(Neuron[XyloState]):
    r"""The leaky integrate-and-fire neuron of Xylo, bit for bit.

    .. math::
        i &\leftarrow \mathrm{leak}_s(\mathrm{clip}(i + x)), \qquad
        v \leftarrow \mathrm{clip}(\mathrm{leak}_m(v) + i + b),
        \\
        \mathrm{leak}_k(y) &= y - \begin{cases} 1 & 0 < y < 2^k \\ \lfloor y / 2^k \rfloor & \text{else} \end{cases}

    with the dashes :math:`s` and :math:`m` of current and potential. Where :math:`v \ge v_\text{th}` the neuron
    emits :math:`n = \min(\lfloor v / v_\text{th} \rfloor, n_\text{max})` spikes and :math:`v \leftarrow v - n
    v_\text{th}`. Input :math:`x` is the sum of the integer weights of the spikes that arrived. Current and
    potential saturate at 16 bits. The numbers are computed in float64, which is exact. Rounding has the gradient
    of the identity, saturation has the gradient 0.

    On the chip every spike that arrives is added and saturated one after the other; here the sum of a step
    saturates. The results differ only if a partial sum leaves the 16 bits and other spikes bring it back.

    Reference: H. Bos & D. Muir, *Sub-mW neuromorphic SNN audio processing applications with Rockpool and Xylo*,
    2022; the rounding is that of XyloSim.

    Args:
        max_spikes: The most spikes in one step: 31 for hidden neurons of the chip, 1 for its outputs.
        readout: Whether the neuron has no threshold, and its output is its potential.
    """

    dash_syn: Parameter = parameter(default=2.0, at_least=0.0, below=16.0, doc="bits by which the current is shifted")
    dash_mem: Parameter = parameter(default=4.0, at_least=0.0, below=16.0, doc="bits by which the potential is shifted")
    v_th: Parameter = parameter(default=100.0, at_least=1.0, below=32768.0, doc="threshold")
    bias: Parameter = parameter(default=0.0, doc="added to the potential in every step")
    distance: Parameter = parameter(
        default=1.0, above=0.0, doc="distance from rest to threshold in the units of the surrogate derivative"
    )
    max_spikes: int = setting(default=31, accepts=int, check=lambda n: 1 <= n <= 31, expected="an integer from 1 to 31")
    readout: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integers(self, ("dash_syn", "dash_mem", "v_th", "bias"))

    @property
    def spiking(self) -> bool:
        return not self.readout

    @property
    def reset_mechanism(self) -> ResetBySubtraction:
        """Spikes subtract the threshold."""
        return ResetBySubtraction()

    def state_dtype(self, x: Tensor) -> torch.dtype:
        return torch.float64

    def rest(self) -> XyloState:
        return XyloState(v=torch.zeros(()), i=torch.zeros(()))

    def prepare(self) -> tuple[XyloConstants]:
        return (
            XyloConstants(
                # Not `exp2(-dash)`, which need not be exact.
                leak_syn=1 / torch.round(torch.exp2(self.dash_syn.double())),
                leak_mem=1 / torch.round(torch.exp2(self.dash_mem.double())),
                v_th=self.v_th.double(),
                bias=self.bias.double(),
                distance=self.distance.double(),
            ),
        )

    def step(self, x: Tensor, state: XyloState, constants: XyloConstants) -> tuple[Tensor, XyloState]:
        i = _leak(_saturate(state.i + x), constants.leak_syn)
        v = _saturate(_leak(state.v, constants.leak_mem) + i + constants.bias)
        if self.readout:
            return v, XyloState(v, i)
        v_th = constants.v_th
        # Integers: v >= v_th is v + 1 > v_th.
        smooth = self.surrogate((v + 1 - v_th) * (constants.distance / v_th))
        z = exact_step(smooth, torch.clamp(torch.floor(v / v_th), 0, self.max_spikes))
        return z, XyloState(v - z.detach() * v_th, i)


def _saturate(value: Tensor) -> Tensor:
    return torch.clamp(value, -STATE_LIMIT, STATE_LIMIT - 1)


def _leak(value: Tensor, leak: Tensor) -> Tensor:
    amount = torch.floor(value * leak)
    amount = torch.where((amount == 0) & (value > 0), 1.0, amount)
    return exact_step(value - value * leak, value - amount)


class XyloLIFCell(CellMixin, XyloLIF): ...


class XyloLIFRecurrent(RecurrentMixin, XyloLIF): ...


class XyloLIFRecurrentCell(CellMixin, RecurrentMixin, XyloLIF): ...
