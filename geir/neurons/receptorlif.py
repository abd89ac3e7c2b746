"""Leaky integrate-and-fire neuron with AMPA, NMDA and GABA receptors."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._util.state import state_type
from ..core.integrators import Integrator, RushLarsen
from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, RecurrentMixin


@state_type
class ReceptorInput(NamedTuple):
    """Input of a neuron with AMPA, NMDA and GABA receptors, each >= 0."""

    ampa: Tensor  # fast excitation
    nmda: Tensor  # slow excitation, blocked by magnesium at rest
    gaba: Tensor  # inhibition


class ReceptorLIFState(NamedTuple):
    v: Tensor  # membrane potential
    g_ampa: Tensor  # AMPA conductance
    g_nmda: Tensor  # NMDA conductance, without its block by magnesium
    rise: Tensor  # transmitter at NMDA receptors
    g_gaba: Tensor  # GABA conductance


class ReceptorLIF(IntegrateAndFire[ReceptorLIFState]):
    r"""Leaky integrate-and-fire neuron with AMPA, NMDA and GABA receptors. Its input is a `ReceptorInput`.

    .. math::
        \tau_\text{mem} \dot v &= v_\text{rest} - v + (g_\text{AMPA} + B(v) \, g_\text{NMDA}) (E_\text{exc} - v)
            + g_\text{GABA} (E_\text{inh} - v), \\
        B(v) &= \frac{1}{1 + e^{-0.062 v} \, c_\text{Mg} / 3.57}, \\
        \tau_\text{AMPA} \dot g_\text{AMPA} &= -g_\text{AMPA}, \qquad
        \tau_\text{GABA} \dot g_\text{GABA} = -g_\text{GABA}, \\
        \dot g_\text{NMDA} &= -g_\text{NMDA} / \tau_\text{NMDA} + \alpha r, \qquad
        \tau_\text{rise} \dot r = -r;

    input makes :math:`g_\text{AMPA}`, :math:`r` and :math:`g_\text{GABA}` jump by its parts. Where :math:`v >
    v_\text{th}` the neuron spikes and :math:`v` is reset. Potentials are in mV, conductances in units of the leak's.

    Reference: N. Brunel & X.-J. Wang, *Effects of neuromodulation in a cortical network model of object working memory
    dominated by recurrent inhibition*, 2001, with its parameters of pyramidal cells. There, each NMDA synapse
    saturates; here, the inputs of all synapses add up.

    Args:
        integrator: Numerical method that advances the state by `dt`; the default is stable at any conductance.
    """

    input_types = (ReceptorInput,)

    tau_mem: Parameter = parameter(default=20e-3, unit="s", above=0.0, doc="membrane time constant")
    tau_ampa: Parameter = parameter(default=2e-3, unit="s", above=0.0, doc="decay time of the AMPA conductance")
    tau_nmda: Parameter = parameter(default=100e-3, unit="s", above=0.0, doc="decay time of the NMDA conductance")
    tau_rise: Parameter = parameter(default=2e-3, unit="s", above=0.0, doc="rise time of the NMDA conductance")
    tau_gaba: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="decay time of the GABA conductance")
    alpha: Parameter = parameter(default=500.0, unit="1/s", at_least=0.0, doc="rate of opening of NMDA channels")
    magnesium: Parameter = parameter(default=1.0, unit="mM", at_least=0.0, doc="extracellular magnesium, c_Mg")
    E_exc: Parameter = parameter(default=0.0, unit="mV", doc="excitatory reversal potential")
    E_inh: Parameter = parameter(default=-70.0, unit="mV", doc="inhibitory reversal potential")
    v_rest: Parameter = parameter(default=-70.0, unit="mV", doc="resting potential")
    v_th: Parameter = parameter(default=-50.0, unit="mV", doc="threshold")
    v_reset: Parameter = parameter(default=-55.0, unit="mV", doc="potential after a spike")
    integrator: Integrator = RushLarsen()

    def rest(self) -> ReceptorLIFState:
        closed = torch.zeros(())
        return ReceptorLIFState(v=self.v_rest, g_ampa=closed, g_nmda=closed, rise=closed, g_gaba=closed)

    def receive(self, x: ReceptorInput, state: ReceptorLIFState) -> ReceptorLIFState:
        return state._replace(g_ampa=state.g_ampa + x.ampa, rise=state.rise + x.nmda, g_gaba=state.g_gaba + x.gaba)

    def derivative(self, x: ReceptorInput, state: ReceptorLIFState) -> ReceptorLIFState:
        v, g_ampa, g_nmda, rise, g_gaba = state
        unblocked = 1 / (1 + torch.exp(-0.062 * v) * self.magnesium / 3.57)
        excitation = (g_ampa + unblocked * g_nmda) * (self.E_exc - v)
        return ReceptorLIFState(
            v=(self.v_rest - v + excitation + g_gaba * (self.E_inh - v)) / self.tau_mem,
            g_ampa=-g_ampa / self.tau_ampa,
            g_nmda=-g_nmda / self.tau_nmda + self.alpha * rise,
            rise=-rise / self.tau_rise,
            g_gaba=-g_gaba / self.tau_gaba,
        )

    def threshold(self, before: ReceptorLIFState, after: ReceptorLIFState) -> Tensor:
        return after.v - self.v_th


class ReceptorLIFCell(CellMixin, ReceptorLIF): ...


class ReceptorLIFRecurrent(RecurrentMixin, ReceptorLIF): ...


class ReceptorLIFRecurrentCell(CellMixin, RecurrentMixin, ReceptorLIF): ...
