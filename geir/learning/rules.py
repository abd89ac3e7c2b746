"""Rules of online learning, as values: how much of the Jacobian of a step the traces keep."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class OnlineRule:
    """A rule of online learning."""

    temporal: ClassVar[bool] = True


@dataclass(frozen=True)
class OSTL(OnlineRule):
    """The full Jacobian of each neuron: exact for one hidden layer with a loss at every step.

    Layers above pass the gradient of the current step only, so for lower layers it is an approximation.

    Reference: T. Bohnstingl et al., *Online spatio-temporal learning in deep neural networks*, 2022.
    """


@dataclass(frozen=True)
class SLTT(OnlineRule):
    """No Jacobian: backpropagation with the state detached before every step.

    Reference: Q. Meng et al., *Towards memory- and time-efficient backpropagation for training spiking neural
    networks*, 2023.
    """

    temporal: ClassVar[bool] = False
