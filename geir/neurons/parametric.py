"""Leaky integrate-and-fire neuron that learns its membrane time constant."""

from ..core.parameters import Parameter, parameter
from ..wrappers.forms import CellMixin, RecurrentMixin
from .lifbox import LIFBox


class ParametricLIF(LIFBox):
    r"""Parametric leaky integrate-and-fire neuron (PLIF): a `LIFBox` whose membrane time constant learns, whatever it is set to.

    .. math:: v \leftarrow v + k \, (v_\text{rest} - v + x), \qquad k = 1 - e^{-\Delta t / \tau_\text{mem}};

    where :math:`v > v_\text{th}` the neuron spikes and :math:`v` is reset. Stored is :math:`\ln \tau_\text{mem}`, so that :math:`k` stays in
    (0, 1). The paper has the same potential, with :math:`k` as the sigmoid of what is stored and :math:`1 / k` as the time constant in steps.

    Reference: W. Fang et al., *Incorporating learnable membrane time constant to enhance learning of spiking neural networks*, 2021.

    Args:
        reset_mechanism: What a spike does to the membrane potential.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, learnable=True, doc="membrane time constant")


class ParametricLIFCell(CellMixin, ParametricLIF): ...


class ParametricLIFRecurrent(RecurrentMixin, ParametricLIF): ...


class ParametricLIFRecurrentCell(CellMixin, RecurrentMixin, ParametricLIF): ...
