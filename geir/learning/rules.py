"""Rules of online learning, as values: what traces keep, and where learning signals come from."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import ClassVar

from .._util.validation import check_integer, check_positive
from ._traces import Dense, Instantaneous, Layout, Synaptic


@dataclass(frozen=True, repr=False)
class _Value:
    """A value whose representation shows what is not the default."""

    def __repr__(self) -> str:
        values = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(values)})"


@dataclass(frozen=True, repr=False)
class FiringRate(_Value):
    r"""A penalty on firing rates, whose learning signal is added to that of every layer of spiking neurons.

    .. math:: L_j \leftarrow L_j + \frac{c}{B} (f_j - f^*), \qquad
        f_j \leftarrow \kappa f_j + (1 - \kappa) \frac{z_j}{\Delta t}, \quad \kappa = e^{-\Delta t / \tau},

    with the strength :math:`c`, the batch size :math:`B`, the target :math:`f^*` and the running average
    :math:`f_j`, which starts at the target.

    Reference: G. Bellec et al., *A solution to the learning dilemma for recurrent networks of spiking neurons*, 2020.

    Args:
        target: Target rate in hertz.
        strength: Strength of the penalty.
        tau: Time constant of the average in seconds.

    Raises:
        ValueError: If an argument is not positive and finite.
    """

    target: float
    strength: float = 1e-3
    tau: float = 0.5

    def __post_init__(self) -> None:
        check_positive("FiringRate", target=self.target, strength=self.strength, tau=self.tau)

    def decay(self, dt: float) -> float:
        """Decay of the average in one step."""
        return math.exp(-dt / self.tau)


@dataclass(frozen=True, repr=False)
class Feedback(_Value):
    """Where the learning signals of the layers come from."""


@dataclass(frozen=True, repr=False)
class Symmetric(Feedback):
    """The weights of the layers above, transposed."""


@dataclass(frozen=True, repr=False)
class Random(Feedback):
    r"""Fixed random weights :math:`B` from the error of the output to every layer, :math:`L = B^T \partial \ell_t /
    \partial y_t`.

    They are drawn from :math:`N(0, s^2 / N)` for a layer of :math:`N` neurons with the scale :math:`s`, and are the
    buffers `feedback_0`, ... of the learner, one for each layer.

    Args:
        scale: Scale of the weights.

    Raises:
        ValueError: If the scale is not positive and finite.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        check_positive(type(self).__name__, scale=self.scale)


@dataclass(frozen=True, repr=False)
class Adaptive(Random):
    """Weights like those of `Random` that learn by the gradient of readout weights, as the real ones do.

    They are parameters of the learner: give ``learner.parameters()`` to the optimizer, with weight decay, by which
    they approach the transposed readout weights.

    Args:
        scale: Scale of the initial weights.
    """


@dataclass(frozen=True, repr=False)
class OnlineRule(_Value, ABC):
    """A rule of online learning. Abstract: a subclass says how traces are stored.

    Args:
        firing_rate: Penalty on firing rates.
    """

    firing_rate: FiringRate | None = field(default=None, kw_only=True)

    # Whether a leaky readout filters the eligibilities of the layer below.
    filters: ClassVar[bool] = False
    # Whether derivatives of the state are those of its flow, without threshold and reset.
    follows_flow: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.firing_rate, FiringRate | None):
            raise TypeError(
                f"{type(self).__name__}.firing_rate must be a geir.learning.FiringRate or None, "
                f"got {self.firing_rate!r}."
            )

    @abstractmethod
    def layout(self, recurrent: bool, shared: list[int]) -> Layout:
        """How the traces of a layer are stored.

        Args:
            recurrent: Whether the layer is recurrent.
            shared: Parts of its state whose traces are the same for all neurons.
        """


@dataclass(frozen=True, repr=False)
class OSTL(OnlineRule):
    """Online spatio-temporal learning: the exact gradient of every layer, given the learning signal of the step.

    Exact for one layer of neurons, recurrent or not, with any readout of the same step or a leaky readout. Layers
    above pass the gradient of the current step only, so for lower layers it is an approximation. A recurrent layer of
    :math:`N` neurons needs :math:`N` traces for every synapse (real-time recurrent learning); `EProp` needs one.

    Reference: T. Bohnstingl et al., *Online spatio-temporal learning in deep neural networks*, 2022.

    Args:
        firing_rate: Penalty on firing rates.
    """

    filters: ClassVar[bool] = True

    def layout(self, recurrent: bool, shared: list[int]) -> Layout:
        return Dense() if recurrent else Synaptic(shared)


@dataclass(frozen=True, repr=False)
class EProp(OnlineRule):
    r"""e-prop: an eligibility trace for every synapse, and a learning signal for every neuron.

    .. math:: \frac{d \ell}{d w_{ji}} \approx \sum_t L_j(t) \, \bar e_{ji}(t).

    Derivatives pass through the state of a neuron, not through recurrent connections: it is backpropagation with the
    recurrent feedback :math:`z(t - 1)` detached, and exact for one layer without recurrence. :math:`\bar e` is the
    eligibility filtered by the leaky readout, if the network has one.

    Reference: G. Bellec et al., *A solution to the learning dilemma for recurrent networks of spiking neurons*, 2020.

    Args:
        feedback: Where learning signals come from: `Symmetric()`, `Random()` or `Adaptive()`.
        firing_rate: Penalty on firing rates.

    Raises:
        TypeError: If `feedback` is not one of these.
    """

    filters: ClassVar[bool] = True
    feedback: Feedback = Symmetric()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.feedback, Feedback):
            raise TypeError(
                f"EProp.feedback must be Symmetric(), Random() or Adaptive() of geir.learning, got {self.feedback!r}."
            )

    def layout(self, recurrent: bool, shared: list[int]) -> Layout:
        return Synaptic(shared)


@dataclass(frozen=True, repr=False)
class OTTT(OnlineRule):
    r"""Online training through time: one trace for every presynaptic neuron.

    Between steps derivatives pass through the flow of the state only, not through threshold and reset. The flow must
    be the same for all neurons of a layer, so that their traces are the same: the rule needs neurons given by affine
    differential equations, such as `LIF`, without parameters per neuron. It equals `OSTL` for layers without
    recurrence whose reset is by subtraction and detached, and that have no adaptation. Losses are those of the step:
    a leaky readout does not filter eligibilities.

    Reference: M. Xiao et al., *Online training through time for spiking neural networks*, 2022.

    Args:
        firing_rate: Penalty on firing rates.
    """

    follows_flow: ClassVar[bool] = True

    def layout(self, recurrent: bool, shared: list[int]) -> Layout:
        return Synaptic(shared)


@dataclass(frozen=True, repr=False)
class SLTT(OnlineRule):
    """Spatial learning through time: no traces. It is backpropagation with the state detached before every step.

    Reference: Q. Meng et al., *Towards memory- and time-efficient backpropagation for training spiking neural
    networks*, 2023.

    Args:
        firing_rate: Penalty on firing rates.
    """

    def layout(self, recurrent: bool, shared: list[int]) -> Layout:
        return Instantaneous()


@dataclass(frozen=True, repr=False)
class DECOLLE(OnlineRule):
    r"""Deep continuous local learning: every layer learns from a local loss, through a fixed random readout.

    The learner returns a list of the local readouts :math:`y_l = G_l z_l`, one for each layer, (batch, outputs). Give
    the sum of their losses to `backward`, and none during the first steps if neurons should settle. No gradient passes
    between layers; traces are those of `OTTT`, with its conditions. The weights :math:`G_l`, from :math:`N(0, s^2 / N)`
    for :math:`N` neurons and the scale :math:`s`, are the buffers `readout_0`, ... of the learner.

    Reference: J. Kaiser et al., *Synaptic plasticity dynamics for deep continuous local learning (DECOLLE)*, 2020.

    Args:
        outputs: Number of outputs of every readout.
        scale: Scale of the readout weights.
        firing_rate: Penalty on firing rates.

    Raises:
        ValueError: If `outputs` is not a positive integer, or `scale` not positive and finite.
    """

    follows_flow: ClassVar[bool] = True
    outputs: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("DECOLLE", minimum=1, outputs=self.outputs)
        check_positive("DECOLLE", scale=self.scale)

    def layout(self, recurrent: bool, shared: list[int]) -> Layout:
        return Synaptic(shared)
