"""White noise in the membrane potential, for any neuron."""

from abc import ABC
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from .._runtime.stepper import Prepared
from .._util.inputs import AnyInput
from .._util.precision import widen
from .._util.state import AnyState, potential, state_type, with_potential
from ..core.parameters import Parameter, parameter, setting
from ._random import WichmannHill
from .cell import CellMixin
from .wrapper import Wrapper


@state_type
class RandomState(NamedTuple):
    """State of a neuron with noise."""

    neuron: AnyState  # state of the wrapped neuron
    generator: WichmannHill  # state of its pseudo-random number generator


class RandomWrapper(Wrapper, ABC):
    """A wrapper with pseudo-random numbers in its state. Abstract: a subclass defines `step`.

    Args:
        seed: From 0 to 2^32 - 1, for the same noise in every run that starts from rest; use different seeds
            for independent layers. Default: PyTorch draws a seed whenever a run starts from rest, so that
            `torch.manual_seed` decides.
    """

    # Wrappers of different kinds draw different numbers from one seed.
    _stream: ClassVar[int] = 0

    seed: int | None = setting(
        default=None,
        accepts=(int, type(None)),
        check=lambda seed: seed is None or 0 <= seed < 2**32,
        expected="an integer from 0 to 2**32 - 1, or None",
    )

    def check_state_type(self, state: AnyState) -> None:
        self.expect_state(state, RandomState)
        self.neuron.check_state_type(state.neuron)

    def initial_state(self, x: Tensor, dtype: torch.dtype | None = None) -> AnyState:
        dtype = dtype or self.state_dtype(x)
        seed = None if self.seed is None else 2 * self.seed + self._stream
        return RandomState(self.neuron.initial_state(x, dtype), WichmannHill.seed(seed, x, dtype))


class Noisy(RandomWrapper):
    r"""Any neuron with white noise in its potential: ``Noisy(LIF(), sigma=2.0)``. Before every step

    .. math:: v \leftarrow v + \sigma \sqrt{\Delta t} \, \xi, \qquad \xi \sim N(0, 1),

    so that the effect of the noise over one second does not depend on :math:`\Delta t`; a membrane without
    threshold has the standard deviation :math:`\sigma \sqrt{\tau_\text{mem} / 2}`. The pseudo-random numbers
    are part of the state.

    Raises:
        TypeError: If the neuron has no potential `v`.
    """

    sigma: Parameter = parameter(default=1.0, unit="1/sqrt(s)", at_least=0.0, doc="strength of the noise")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_potential()

    def step(self, x: AnyInput, state: RandomState, inner: Prepared) -> tuple[Tensor, RandomState]:
        xi, generator = state.generator.normal()
        v = potential(state.neuron) + self.dt**0.5 * widen(self.sigma) * xi
        z, after = self.neuron.step(x, with_potential(state.neuron, v), *inner)
        return z, RandomState(after, generator)


class NoisyCell(CellMixin, Noisy): ...
