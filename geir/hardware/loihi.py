"""The leaky integrate-and-fire neuron of Loihi, in its integer arithmetic."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.neuron import Neuron
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, RecurrentMixin
from .rounding import check_integers, exact_step

# Potential and current have 24 bits, decays 12; input and threshold are shifted to the left by 6 bits.
STATE_LIMIT = 2**23
DECAY_UNIT = 2**12
SHIFT = 2**6


class LoihiState(NamedTuple):
    v: Tensor  # membrane potential, an integer
    i: Tensor  # synaptic current, an integer


class LoihiConstants(NamedTuple):
    """The numbers in a neuron's registers, and the distance from rest to threshold of the model it stands for."""

    decay_current: Tensor
    decay_voltage: Tensor
    v_th: Tensor
    bias: Tensor
    distance: Tensor


class LoihiLIF(Neuron[LoihiState]):
    r"""The leaky integrate-and-fire neuron of Loihi and Loihi 2, bit for bit.

    .. math::
        i &\leftarrow \mathrm{wrap}\left(\mathrm{trunc}\left(i \, \frac{4096 - (d_i + 1)}{4096}\right) + 2^6 x\right),
        \\
        v &\leftarrow \mathrm{clip}\left(\mathrm{trunc}\left(v \, \frac{4096 - d_v}{4096}\right) + i + b\right);

    where :math:`v > 2^6 v_\text{th}` the neuron spikes and :math:`v` is set to 0. Input :math:`x` is the sum of
    the integer weights of the synapses that spiked. Current and potential have 24 bits: the current wraps around
    at :math:`\pm 2^{23}`, the potential saturates at :math:`\pm (2^{23} - 1)`. The numbers are computed in float64,
    which is exact for integers up to :math:`2^{53}`. Rounding and the wrap have the gradient of the identity,
    saturation has the gradient 0.

    Reference: M. Davies et al., *Loihi: a neuromorphic manycore processor with on-chip learning*, 2018; the
    rounding is that of the bit-accurate model of Lava, `lava.proc.lif`.

    Args:
        readout: Whether the neuron has no threshold, and its output is its potential.
    """

    decay_current: Parameter = parameter(
        default=0.0, at_least=0.0, below=4096.0, doc="decay of the current per step in 1/4096, minus one"
    )
    decay_voltage: Parameter = parameter(
        default=0.0, at_least=0.0, below=4096.0, doc="decay of the potential per step in 1/4096"
    )
    v_th: Parameter = parameter(default=100.0, at_least=0.0, below=131072.0, doc="threshold in units of 2^6")
    bias: Parameter = parameter(default=0.0, doc="added to the potential in every step")
    distance: Parameter = parameter(
        default=1.0, above=0.0, doc="distance from rest to threshold in the units of the surrogate derivative"
    )
    readout: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integers(self, ("decay_current", "decay_voltage", "v_th", "bias"))

    @property
    def spiking(self) -> bool:
        return not self.readout

    def state_dtype(self, x: Tensor) -> torch.dtype:
        return torch.float64

    def rest(self) -> LoihiState:
        return LoihiState(v=torch.zeros(()), i=torch.zeros(()))

    def prepare(self) -> tuple[LoihiConstants]:
        return (LoihiConstants(**{name: value.double() for name, value in self.declared_parameters().items()}),)

    def step(self, x: Tensor, state: LoihiState, constants: LoihiConstants) -> tuple[Tensor, LoihiState]:
        i = _wrap(_decay(state.i, constants.decay_current + 1) + SHIFT * x)
        v = _decay(state.v, constants.decay_voltage) + i + constants.bias
        v = torch.clamp(v, 1 - STATE_LIMIT, STATE_LIMIT - 1)
        if self.readout:
            return v, LoihiState(v, i)
        v_th = SHIFT * constants.v_th
        z = self.surrogate((v - v_th) * (constants.distance / torch.clamp(v_th, min=1.0)))
        return z, LoihiState((1 - z.detach()) * v, i)


def _decay(value: Tensor, decay: Tensor) -> Tensor:
    product = value * (DECAY_UNIT - decay) * (1 / DECAY_UNIT)
    return exact_step(product, torch.trunc(product))


def _wrap(current: Tensor) -> Tensor:
    turns = torch.ceil((current - STATE_LIMIT) * (1 / (2 * STATE_LIMIT)))
    return current - 2 * STATE_LIMIT * turns.detach()


class LoihiLIFCell(CellMixin, LoihiLIF): ...


class LoihiLIFRecurrent(RecurrentMixin, LoihiLIF): ...


class LoihiLIFRecurrentCell(CellMixin, RecurrentMixin, LoihiLIF): ...
